"""What is plugged in, and what becomes of it."""
