"""What is plugged in, and which entry it belongs to."""
