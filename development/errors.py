"""The error that ends scripts/develop."""


class DevelopError(Exception):
    """An error that ends scripts/develop; the text has the cause and the remedy."""
