"""The devices: how an entry is read, calibrated and reported."""
