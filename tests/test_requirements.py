"""The generation of the requirements files."""

import pytest

from development.requirements import uv


def test_error_of_uv_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """scripts/update-requirements shows uv's own error and ends without a traceback."""
    wanted = ["homeassistant==1", "homeassistant==2"]
    with pytest.raises(SystemExit, match="uv failed"):
        uv("pip", "compile", "--offline", "--quiet", "-", lines=wanted)
    assert "requirements are unsatisfiable" in capfd.readouterr().err
