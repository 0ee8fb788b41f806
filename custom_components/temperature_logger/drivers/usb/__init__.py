"""Thermometers on USB."""
