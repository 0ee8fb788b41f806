"""Tests of Temperature Logger."""
