"""Tests of the devices of config entries."""
