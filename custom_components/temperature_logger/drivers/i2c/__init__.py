"""Chips on the I2C buses of this machine."""
