"""The guard of the disk, on real databases."""
