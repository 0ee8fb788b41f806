"""The readings in the recorder: the only room that knows its tables."""
