"""The disk guard, on real databases."""
