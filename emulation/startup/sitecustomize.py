# ruff: noqa: INP001 - the interpreter imports it from its folder, not from a package
"""Put emulated hardware below this process if EMULATED_MACHINE names a spec.

Python runs this file by itself where its folder is on PYTHONPATH. The repository is
on the path for this import only: Home Assistant would take the custom_components in
it for its own.
"""

import os
from pathlib import Path
import sys

if "EMULATED_MACHINE" in os.environ:
    repository = str(Path(__file__).parents[2])
    sys.path.insert(0, repository)
    from emulation import process

    sys.path.remove(repository)
    process.start()
