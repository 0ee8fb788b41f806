"""The guard of the disk that the configuration is on."""
