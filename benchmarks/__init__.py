"""Measurements of the drivers and of the integration."""
