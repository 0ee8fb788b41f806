"""The uploader against real receivers."""
