"""The modules of the integration form layers, without a circle."""

from pathlib import Path

from .structure import circles, read_imports

COMPONENT = Path(__file__).parent.parent / "custom_components/temperature_logger"


def test_no_modules_import_each_other() -> None:
    """A module can be read and tested after those that it imports."""
    assert circles(read_imports(COMPONENT)) == []
