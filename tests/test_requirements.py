"""How the requirements files are made."""

import pytest

from development.requirements import uv


def test_uv_says_why_it_failed(capfd: pytest.CaptureFixture[str]) -> None:
    """scripts/update-requirements shows uv's own reason and ends without a trace."""
    wanted = ["homeassistant==1", "homeassistant==2"]
    with pytest.raises(SystemExit, match="uv failed"):
        uv("pip", "compile", "--offline", "--quiet", "-", lines=wanted)
    assert "requirements are unsatisfiable" in capfd.readouterr().err
