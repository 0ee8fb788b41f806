"""The imports of the integration, read from its syntax trees."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

type Imports = dict[str, set[str]]
"""The modules that each module imports, by their dotted names below the root."""


def read_imports(root: Path) -> Imports:
    """Return the imports below a folder, wherever in a module they stand.

    Imports in functions and those for the type checker count. A module that is
    imported by its text, such as with import_module, is not seen.
    """
    paths = {_name(path, root): path for path in root.rglob("*.py")}
    return {
        name: set(_imported(name, path, paths)) - {name} for name, path in paths.items()
    }


def _name(path: Path, root: Path) -> str:
    """Return the dotted name of a module; that of a package has no __init__."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield what a module imports from below the root."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = package.split(".") if package else []
            parts = parents[: len(parents) + 1 - node.level]
            base = ".".join((*parts, *filter(None, [node.module])))
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                yield whole if whole in known else base


def circles(imports: Imports) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle."""
    reached = {name: _reached(name, imports) for name in imports}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in imports
        if name in reached[name]
    }
    return sorted(map(list, found))


def depths(imports: Imports) -> dict[str, int]:
    """Return how many modules the longest chain of imports from each one has.

    There must be no circle.
    """
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = 1 + max(map(depth, imports[name]), default=0)
        return found[name]

    for name in imports:
        depth(name)
    return found


def _reached(name: str, imports: Imports) -> set[str]:
    """Return all modules that one imports, and that those import."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found
