"""The tests run on the newest Home Assistant and on the lowest that is supported."""

import json
from pathlib import Path
import re
import tomllib

from homeassistant.const import __version__
from homeassistant.util.yaml import load_yaml_dict
import pytest

ROOT = Path(__file__).parent.parent
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


def test_version_of_home_assistant(pytestconfig: pytest.Config) -> None:
    """The environment has the version of Home Assistant to be tested."""
    version = pytestconfig.getoption("--home-assistant")
    assert GROUPS[f"home-assistant-{version}"] == [f"homeassistant=={__version__}"]


def test_minimum_version_is_the_same_everywhere() -> None:
    """HACS, the README and the blueprints name the lowest version that is tested."""
    hacs = json.loads((ROOT / "hacs.json").read_text())["homeassistant"]
    readme = (ROOT / "README.md").read_text()
    assert GROUPS["home-assistant-minimum"] == [f"homeassistant=={hacs}"]
    assert re.findall(r"need Home Assistant (\S+) or newer", readme) == [hacs]
    blueprints = list((ROOT / "blueprints").rglob("*.yaml"))
    assert blueprints
    for path in blueprints:
        blueprint = load_yaml_dict(str(path))["blueprint"]
        assert blueprint["homeassistant"] == {"min_version": hacs}, path.name
