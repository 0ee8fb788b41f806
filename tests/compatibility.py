"""Let the pytest plugin for Home Assistant 2026.10 run with 2026.11.

The plugin imports httpx first, which Home Assistant then refuses to replace by httpx2,
and a function from a package that no longer offers it: the package now also offers what
is in its module of helpers. This module is loaded before the plugin (addopts in
pyproject.toml). It can go when there is a plugin for 2026.11.
"""

from functools import partial

from homeassistant.components import logger
from homeassistant.components.logger import helpers

vars(logger)["__getattr__"] = partial(getattr, helpers)
