"""The imports of the integration, read from its syntax trees."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "custom_components.temperature_logger"

type Imports = dict[str, set[str]]
"""The modules that each module imports, by their dotted names below the root."""
type Outside = dict[str, set[str]]
"""The modules of other packages that each module imports."""


class Tree(NamedTuple):
    """The modules below a folder."""

    modules: dict[str, ast.Module]
    """The syntax tree of each module, by its dotted name below the folder."""
    packages: set[str]
    """The modules that are an __init__; the folder's own one has an empty name."""


class Import(NamedTuple):
    """One imported name; it may be a module or what a module defines."""

    module: str
    name: str


def read_tree(root: Path) -> Tree:
    """Read all modules below a folder."""
    paths = list(root.rglob("*.py"))
    modules = {_dotted(path, root): ast.parse(path.read_text()) for path in paths}
    packages = {_dotted(path, root) for path in paths if path.stem == "__init__"}
    return Tree(modules, packages)


def read_imports(tree: Tree) -> Imports:
    """Return which modules import which, wherever in a module an import stands.

    Imports in functions and those for the type checker count. A name that a package
    hands on counts as an import of the module that the package has it from. A module
    that is imported by its text, such as with import_module, is not seen.
    """
    return {
        name: {_source(each, tree) for each in imported(tree, name)} - {name}
        for name in tree.modules
    }


def read_outside(tree: Tree) -> Outside:
    """Return the modules of other packages that each module imports."""
    return {name: set(_outside(module)) for name, module in tree.modules.items()}


def imported(tree: Tree, name: str) -> Iterator[Import]:
    """Yield each name that a module imports from below the root."""
    package = name if name in tree.packages else name.rpartition(".")[0]
    for node in ast.walk(tree.modules[name]):
        if isinstance(node, ast.ImportFrom):
            module = _module(node, package)
            if module is not None:
                yield from (Import(module, alias.name) for alias in node.names)


def face(tree: Tree, package: str) -> set[str]:
    """Return the names that a package hands on."""
    return set(_strings(tree.modules[package], "__all__"))


def open_modules(tree: Tree, package: str) -> set[str]:
    """Return the modules of a package that others may import, at once or later."""
    init = tree.modules[package]
    return {*_strings(init, "OPEN"), *_strings(init, "LATE")}


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
    """Return the longest chain of modules of which each imports the next.

    There must be no circle.
    """
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name, *max(map(chain, imports[name]), key=len, default=[])]
        return chains[name]

    return max(map(chain, imports), key=len)


def folded(imports: Imports, room: Callable[[str], str]) -> Imports:
    """Return which rooms import which, given the room of each module."""
    found: Imports = {room(name): set() for name in imports}
    for name, targets in imports.items():
        found[room(name)] |= {room(target) for target in targets} - {room(name)}
    return found


def _dotted(path: Path, root: Path) -> str:
    """Return the dotted name of a module; that of a package has no __init__."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _module(node: ast.ImportFrom, package: str) -> str | None:
    """Return the module that names are imported from, if it is below the root."""
    module = node.module or ""
    if node.level:
        parents = package.split(".") if package else []
        parts = parents[: len(parents) + 1 - node.level]
        return ".".join((*parts, *filter(None, [module])))
    if module == PACKAGE or module.startswith(f"{PACKAGE}."):
        return module.removeprefix(PACKAGE).removeprefix(".")
    return None


def _outside(module: ast.Module) -> Iterator[str]:
    """Yield the modules of other packages that a module imports."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(found: Import, tree: Tree) -> str:
    """Return the module that a name comes from, whatever packages hand it on."""
    module, name = found
    submodule = f"{module}.{name}".lstrip(".")
    if submodule in tree.modules:
        return submodule
    if module in tree.packages:
        for inner in imported(tree, module):
            if inner.name == name:
                return _source(inner, tree)
    return module


def _strings(module: ast.Module, name: str) -> Iterator[str]:
    """Yield the strings in a list or tuple that is assigned to a name."""
    for node in module.body:
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


def _reached(name: str, imports: Imports) -> set[str]:
    """Return all modules that one imports, and that those import."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found
