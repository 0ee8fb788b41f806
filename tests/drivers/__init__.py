"""The drivers, on emulated hardware and without Home Assistant."""
