"""The imports of the integration, read from its syntax trees."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE = "custom_components.temperature_logger"

FLOORS: Final = (
    ("const", "drivers", "shared", "translation", "units"),
    ("devices", "history"),
    ("coordinator", "entity"),
    ("discovery", "disk_guard", "uploader"),
    ("entries", "http", "services"),
    (
        "",
        "binary_sensor",
        "config_flow",
        "diagnostics",
        "repairs",
        "sensor",
        "system_health",
    ),
)
"""The rooms on each floor, from the ground up, as in docs/architecture.md.

A room is a folder, or a module at the top; the empty name is that of __init__.
"""
ASIDE: Final = {
    ("entity", "coordinator"),
    ("translation", "const"),
    ("translation", "drivers"),
    ("units", "const"),
}
"""The imports from a room to another one on its own floor."""
# Functions that import a module by its text.
IMPORTERS: Final = {"__import__", "async_import_module", "import_module"}

type Imports = dict[str, set[str]]
"""The modules that each module imports, by their dotted names below the root."""
type Names = dict[str, set[str]]
"""Some names, for each module."""


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


def read_imports(tree: Tree, *, by_text: bool = True) -> Imports:
    """Return which modules import which, wherever in a module an import stands.

    Imports in functions and those for the type checker count. So do modules that are
    imported by a literal text, unless by_text is false. A name that a package hands on
    counts as an import of the module that the package has it from, not of the package.
    """
    return {
        name: {
            _source(found, tree)
            for found in (
                *imported(tree, name),
                *(imported_by_text(tree, name) if by_text else ()),
            )
        }
        - {name}
        for name in tree.modules
    }


def read_outside(tree: Tree) -> Names:
    """Return what each module imports of other packages: modules, or their names."""
    return {
        name: {
            _joined(found)
            for found in (*_statements(tree, name), *_calls(tree, name))
            if _below(found) is None
        }
        for name in tree.modules
    }


def read_attributes(tree: Tree) -> Names:
    """Return the attributes that each module uses, also those for getattr."""
    return {name: set(_attributes(module)) for name, module in tree.modules.items()}


def imported(tree: Tree, name: str) -> Iterator[Import]:
    """Yield each name that the statements of a module import from below the root.

    A module that is imported as a whole is a name of its package. Both parts of an
    import of the root itself are empty.
    """
    yield from filter(None, map(_below, _statements(tree, name)))


def imported_by_text(tree: Tree, name: str) -> Iterator[Import]:
    """Yield each module below the root that a module imports by a literal text.

    Of a text that is only known at run time, the known packages count.
    """
    yield from filter(None, map(_below, _calls(tree, name)))


def own_faces(tree: Tree, name: str) -> set[str]:
    """Return the packages around a module that it imports, or imports names of.

    While such a package is imported, the module does not find those names in it.
    """
    sources = {
        inner if (inner := _joined(found)) in tree.modules else found.module
        for found in (*imported(tree, name), *imported_by_text(tree, name))
    }
    return {
        source
        for source in sources & tree.packages
        if name != source and (not source or name.startswith(f"{source}."))
    }


def face(tree: Tree, package: str) -> set[str]:
    """Return the names that a package hands on."""
    return set(_constant(tree.modules[package], "__all__", list[str]()))


def opened(tree: Tree, package: str) -> Names:
    """Return the names of a package's modules that others may import, by module."""
    init = tree.modules[package]
    none: dict[str, tuple[str, ...]] = {}
    names_by_module = _constant(init, "OPEN", none) | _constant(init, "LATE", none)
    return {module: set(names) for module, names in names_by_module.items()}


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

    Raises ValueError if there is a circle, as a chain then has no end.
    """
    if found := circles(imports):
        raise ValueError(f"These modules import each other: {found}")
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


def _joined(found: Import) -> str:
    """Return the dotted name of what is imported."""
    return f"{found.module}.{found.name}".strip(".")


def _package(tree: Tree, name: str) -> str:
    """Return the absolute name of the package that relative imports begin at."""
    package = name if name in tree.packages else name.rpartition(".")[0]
    return f"{PACKAGE}.{package}".strip(".")


def _statements(tree: Tree, name: str) -> Iterator[Import]:
    """Yield what the statements of a module import, by absolute names."""
    package = _package(tree, name)
    for node in ast.walk(tree.modules[name]):
        match node:
            case ast.Import(names=names):
                yield from (_split(alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                source = _absolute(module or "", level, package)
                yield from (Import(source, alias.name) for alias in names)


def _calls(tree: Tree, name: str) -> Iterator[Import]:
    """Yield the modules that calls in a module import by a text, by absolute names."""
    package = _package(tree, name)
    nodes = list(ast.walk(tree.modules[name]))
    importers = IMPORTERS | {
        alias.asname
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in IMPORTERS
    }
    for node in nodes:
        if isinstance(node, ast.Call) and _last_name(node.func) in importers:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            texts = filter(None, (_text(each, package) for each in given))
            if text := next(texts, ""):
                module = text.lstrip(".")
                yield _split(_absolute(module, len(text) - len(module), package))


def _split(module: str) -> Import:
    """Return the import of a whole module, as a name of its package."""
    package, _, name = module.rpartition(".")
    return Import(package, name)


def _last_name(node: ast.expr) -> str:
    """Return the name of a variable or an attribute."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _text(node: ast.expr, package: str) -> str:
    """Return the name of a module, up to the first part that is not known here."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id="__package__"):
            return package
        case ast.FormattedValue(value=ast.Name(id="__package__")):
            return package
        case ast.JoinedStr(values=parts):
            known = ""
            for part in parts:
                if not (text := _text(part, package)):
                    return known.rpartition(".")[0]
                known += text
            return known
    return ""


def _absolute(module: str, level: int, package: str) -> str:
    """Return the absolute name of a module that a package imports with so many dots."""
    if not level:
        return module
    parents = package.split(".")
    return ".".join((*parents[: len(parents) + 1 - level], module)).strip(".")


def _below(found: Import) -> Import | None:
    """Return an import by names below the root; None for one of another package."""
    module, name = found
    whole = module if name == "*" else _joined(found)
    if whole == PACKAGE or PACKAGE.startswith(f"{whole}."):
        return Import("", "")
    if module == PACKAGE or module.startswith(f"{PACKAGE}."):
        return Import(module.removeprefix(PACKAGE).removeprefix("."), name)
    return None


def _source(found: Import, tree: Tree, seen: frozenset[Import] = frozenset()) -> str:
    """Return the module that a name comes from, whatever packages hand it on."""
    if (submodule := _joined(found)) in tree.modules:
        return submodule
    if found.module in tree.packages:
        seen |= {found}
        for inner in imported(tree, found.module):
            if inner.name == found.name and inner not in seen:
                return _source(inner, tree, seen)
    return found.module


def _attributes(module: ast.Module) -> Iterator[str]:
    """Yield the attributes that a module uses."""
    for node in ast.walk(module):
        match node:
            case ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]):
                yield _text(name, "")


def _constant[T](module: ast.Module, name: str, default: T) -> T:
    """Return the value of a module's constant, or else the default."""
    for node in module.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=value)
                | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
            ) if found == name:
                constant: T = ast.literal_eval(value)
                return constant
    return default


def _reached(name: str, imports: Imports) -> set[str]:
    """Return all modules that one imports, and that those import."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found
