"""The history, on real databases."""
