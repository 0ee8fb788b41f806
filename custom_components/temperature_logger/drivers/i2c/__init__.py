"""The drivers of chips on the I2C buses of this machine."""
