"""Faults of one device, and their effect on its entities and on other devices."""
