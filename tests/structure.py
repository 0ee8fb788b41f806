"""The imports of the integration, read from its syntax trees."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

type Imports = dict[str, set[str]]
"""The modules that each module imports, by their dotted names below the root."""
type Trees = Mapping[str, ast.Module]
"""The syntax tree of each module."""


def read_imports(root: Path) -> Imports:
    """Return the imports below a folder, from anywhere in a module.

    Imports in functions and those for the type checker count. A name that a package
    re-exports counts as an import of the module that defines it. A module that is
    imported by its text, such as with import_module, is not seen.
    """
    trees = {_name(path, root): ast.parse(path.read_text()) for path in _files(root)}
    packages = {_name(path, root) for path in _files(root) if path.stem == "__init__"}
    found: Imports = {}
    for name, tree in trees.items():
        package = name if name in packages else name.rpartition(".")[0]
        pairs = _imported_names(tree, package)
        found[name] = {_source(*pair, trees, packages) for pair in pairs} - {name}
    return found


def faces(root: Path) -> dict[str, set[str]]:
    """Return the names that each folder's __init__ re-exports, by the folder."""
    return {
        _name(path, root): set(_constants(ast.parse(path.read_text()), "__all__"))
        for path in _files(root)
        if path.stem == "__init__" and path.parent != root
    }


def late_modules(root: Path) -> dict[str, set[str]]:
    """Return the modules that a folder's __init__ names as imported on first use."""
    return {
        _name(path, root): set(_constants(ast.parse(path.read_text()), "LATE"))
        for path in _files(root)
        if path.stem == "__init__" and path.parent != root
    }


def _files(root: Path) -> Iterator[Path]:
    """Yield the modules below a folder."""
    yield from root.rglob("*.py")


def _name(path: Path, root: Path) -> str:
    """Return the dotted name of a module; that of a package has no __init__."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imported_names(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = package.split(".") if package else []
            parts = parents[: len(parents) + 1 - node.level]
            module = ".".join((*parts, *filter(None, [node.module])))
            for alias in node.names:
                yield module, alias.name


def _source(module: str, name: str, trees: Trees, packages: set[str]) -> str:
    """Return the module that defines a name, through all packages that re-export it."""
    submodule = f"{module}.{name}".lstrip(".")
    if submodule in trees:
        return submodule
    if module in packages:
        for inner, handed_on in _imported_names(trees[module], module):
            if handed_on == name:
                return _source(inner, name, trees, packages)
    return module


def _constants(tree: ast.Module, name: str) -> Iterator[str]:
    """Yield the strings in a list or tuple that is assigned to a name."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(to, ast.Name) and to.id == name for to in targets):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value


def circles(imports: Imports) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle."""
    reached = {name: _reached(name, imports) for name in imports}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in imports
        if name in reached[name]
    }
    return sorted(map(list, found))


def longest_chain(imports: Imports) -> list[str]:
    """Return the longest chain of modules that import each other in turn.

    There must be no circle.
    """
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name, *max(map(chain, imports[name]), key=len, default=[])]
        return chains[name]

    return max(map(chain, imports), key=len)


def _reached(name: str, imports: Imports) -> set[str]:
    """Return all modules that a module imports directly or indirectly."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found
