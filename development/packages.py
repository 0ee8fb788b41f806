"""List the packages that a Home Assistant without `default_config` needs to start.

Runs in an environment that has homeassistant and nothing else of this project's:
`python packages.py MANIFEST` prints one requirement per line.
"""

from collections.abc import Iterable, Iterator
import json
from pathlib import Path
import sys
from typing import Any

from homeassistant import bootstrap, components

# scripts/develop adds these to the integrations that Home Assistant always sets up. The
# web server compresses with isal.
ADDED = ("diagnostics", "history", "isal", "logbook", "my", "recorder", "usb")


def manifest(domain: str) -> dict[str, Any]:
    """Read the manifest of an integration of Home Assistant's own."""
    path = Path(components.__path__[0], domain, "manifest.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def with_dependencies(domains: Iterable[str]) -> Iterator[str]:
    """Yield the domains and all dependencies that Home Assistant installs for them."""
    waiting = list(domains)
    visited: set[str] = set()
    while waiting:
        domain = waiting.pop()
        if domain in visited:
            continue
        visited.add(domain)
        yield domain
        for kind in ("dependencies", "after_dependencies"):
            waiting += manifest(domain).get(kind, [])


def requirements(content: dict[str, Any]) -> set[str]:
    """Return the requirements of an integration and of its dependencies."""
    domains = {
        *ADDED,
        *bootstrap.CORE_INTEGRATIONS,
        *bootstrap.DEFAULT_INTEGRATIONS,
        *content.get("dependencies", []),
        *content.get("after_dependencies", []),
    }
    lines = set(content.get("requirements", []))
    for domain in with_dependencies(domains):
        lines.update(manifest(domain).get("requirements", []))
    return lines


def main() -> None:
    """Print the requirements of the manifest named on the command line."""
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.writelines(f"{line}\n" for line in sorted(requirements(content)))


if __name__ == "__main__":
    main()
