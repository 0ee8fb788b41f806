"""What ends scripts/develop."""


class DevelopError(Exception):
    """It cannot go on; the text says why and what to do, in one line."""
