"""The rooms of the integration stand above each other, and keep to their doors."""

from collections.abc import Iterator, Mapping
from pathlib import Path
import re
from typing import Final, NamedTuple

import pytest

from .structure import (
    ASIDE,
    FLOORS,
    PACKAGE,
    Tree,
    circles,
    face,
    folded,
    imported,
    imported_by_text,
    longest_chain,
    opened,
    own_faces,
    read_attributes,
    read_imports,
    read_outside,
    read_tree,
)

ROOT = Path(__file__).parent.parent
COMPONENT = ROOT / "custom_components/temperature_logger"
PAGE = ROOT / "docs/architecture.md"
MODULES_DEEP: Final = 7
# Home Assistant imports these by name; nothing else does.
PLATFORMS: Final = FLOORS[-1]
FLOOR_OF: Final = {
    name: number for number, names in enumerate(FLOORS) for name in names
}
# The room on the left must never import those on the right, although some of them are
# on lower floors.
NEVER: Final = {
    "coordinator": {"discovery", "history", "uploader"},
    "devices": {"coordinator", "discovery", "history", "uploader"},
    "discovery": {"disk_guard", "history", "uploader"},
    "disk_guard": {"devices", "discovery", "drivers", "uploader"},
    "history": {"coordinator", "devices", "discovery", "disk_guard", "uploader"},
    "uploader": {"coordinator", "devices", "discovery", "disk_guard"},
}
# Only these modules know the insides of the recorder, and only some of its names.
RECORDER: Final = (
    "MySQLdb",
    "homeassistant.components.recorder",
    "homeassistant.helpers.recorder",
    "psycopg2",
    "pymysql",
    "sqlalchemy",
    "sqlite3",
)
FOR_ALL: Final = {
    "homeassistant.helpers.recorder.DATA_INSTANCE",
    "homeassistant.helpers.recorder.get_instance",
}
KNOW_THE_RECORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "history.recorder": (
        "homeassistant.components.recorder",
        "homeassistant.helpers.recorder",
        "sqlalchemy",
    ),
    "history.rows": (
        "sqlalchemy.ColumnElement",
        "sqlalchemy.Connection",
        "sqlalchemy.Select",
        "sqlalchemy.func",
        "sqlalchemy.select",
    ),
    "history.tables": (
        "sqlalchemy.ColumnClause",
        "sqlalchemy.column",
        "sqlalchemy.table",
    ),
}
# Attributes of connections and sessions that perform statements.
STATEMENTS: Final = {"execute", "scalar", "scalars"}
# Attributes for raw SQL, and those of the recorder's instance beside its settings.
INSIDES: Final = re.compile(
    r"exec_driver_sql|driver_connection|dbapi_connection|raw_connection"
    r"|\w+_manager|queue_task|get_session|event_session|(database_)?engine|db_url"
    r"|(un)?lock_database"
)


class Breach(NamedTuple):
    """A module that imports or uses what it must not."""

    module: str
    imports: str


def room(module: str) -> str:
    """Return the room of a module: its folder, or itself at the top."""
    return module.partition(".")[0]


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a dotted name is one of these, or in one of them."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def breaches(tree: Tree) -> Iterator[Breach]:
    """Yield the imports and uses that a rule forbids."""
    yield from breaches_inside(tree)
    yield from breaches_outside(tree)
    for module, attributes in read_attributes(tree).items():
        for name in attributes:
            if may_not_use(module, name):
                yield Breach(module, name)


def breaches_inside(tree: Tree) -> Iterator[Breach]:
    """Yield the imports from the wrong room, and those from a room's own face."""
    for module, targets in read_imports(tree).items():
        for target in targets:
            if is_forbidden(room(module), room(target)):
                yield Breach(module, target)
        for target in own_faces(tree, module):
            if room(target) == room(module):
                yield Breach(module, target)


def breaches_outside(tree: Tree) -> Iterator[Breach]:
    """Yield the imports of other packages that only some modules may import."""
    for module, names in read_outside(tree).items():
        known = KNOW_THE_RECORDER.get(module, ())
        for name in names:
            if (room(module) == "drivers" and is_below(name, ("homeassistant",))) or (
                is_of_the_recorder(name) and not is_below(name, known)
            ):
                yield Breach(module, name)


def may_not_use(module: str, attribute: str) -> bool:
    """Return whether a module must not use attributes of a name."""
    if attribute in STATEMENTS:
        return module not in KNOW_THE_RECORDER
    return INSIDES.fullmatch(attribute) is not None and module != "history.recorder"


def is_forbidden(from_room: str, to_room: str) -> bool:
    """Return whether a room must not import another one."""
    return from_room != to_room and (
        to_room in NEVER.get(from_room, set())
        or (
            FLOOR_OF[to_room] >= FLOOR_OF[from_room]
            and (from_room, to_room) not in ASIDE
        )
    )


def is_of_the_recorder(name: str) -> bool:
    """Return whether a name outside of the integration belongs to the recorder.

    A package that the recorder is in does as well.
    """
    is_around = any(inner.startswith(f"{name}.") for inner in RECORDER)
    return is_around or (is_below(name, RECORDER) and name not in FOR_ALL)


def reaches(tree: Tree) -> Iterator[Breach]:
    """Yield the imports that reach past the face of a room."""
    rooms = {name for name in tree.packages if name and "." not in name}
    for module in tree.modules:
        for target, name in imported(tree, module):
            entered = room(target or name)
            if entered not in rooms - {room(module)}:
                continue
            inner = target.removeprefix(entered).removeprefix(".")
            named = opened(tree, entered).get(inner, set()) if inner else set()
            if target == entered:
                named = face(tree, entered)
            if name not in named:
                yield Breach(module, f"{target}.{name}".strip("."))
        for target, name in imported_by_text(tree, module):
            entered = room(target or name)
            if entered in rooms - {room(module)} and target:
                inner = f"{target}.{name}".removeprefix(f"{entered}.")
                if inner not in opened(tree, entered):
                    yield Breach(module, f"{target}.{name}")


@pytest.fixture(name="tree", scope="module")
def tree_fixture() -> Tree:
    """Return the modules of the integration."""
    return read_tree(COMPONENT)


def test_no_modules_import_each_other(tree: Tree) -> None:
    """A module can be read, and tested, after those that it imports."""
    assert circles(read_imports(tree)) == []


def test_chains_of_imports_are_short(tree: Tree) -> None:
    """A reader reaches the ground in a few steps.

    Each module of a chain is counted, with both ends. A face is not counted: it only
    hands on names, so a name leads from the module that imports it to the module that
    defines it. Modules that are imported by a text are not counted either: they are the
    drivers, of which each device needs one.
    """
    faces = tree.packages - {""}
    imports = {
        name: targets - faces
        for name, targets in read_imports(tree, by_text=False).items()
        if name not in faces
    }
    assert len(chain := longest_chain(imports)) <= MODULES_DEEP, chain


def test_each_room_has_a_floor(tree: Tree) -> None:
    """A new room is given a floor before anything imports it."""
    rooms = folded(read_imports(tree), room)
    assert set(rooms) == FLOOR_OF.keys()
    assert circles(rooms) == []


def test_the_page_shows_the_floors_and_the_rules() -> None:
    """docs/architecture.md says the same as this test."""
    page = PAGE.read_text()
    drawn = re.findall(r"subgraph f(\d) \[.*?\n(.*?)\n  end", page, re.DOTALL)
    floors = {int(number): set(re.findall(r"\w+", text)) for number, text in drawn}
    assert len(floors) == len(FLOORS)
    for number, names in enumerate(FLOORS, start=1):
        assert {name or "__init__" for name in names} <= floors[number]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    for name, targets in NEVER.items():
        assert set(re.findall(r"`(\w+)`", rows[name])) == targets
    named = set(re.findall(r"`(\w+)` from `(\w+)`", page))
    assert named >= ASIDE


def test_never_rules_are_kept(tree: Tree) -> None:
    """A room does not know those that stand above or beside it."""
    assert sorted(breaches(tree)) == []


def test_rooms_are_entered_by_their_faces(tree: Tree) -> None:
    """What a folder's __init__ does not name may change without a word to others."""
    assert sorted(reaches(tree)) == []


def test_faces_name_only_what_others_import(tree: Tree) -> None:
    """A name that no other room needs is not on offer."""
    used = {
        (target, name)
        for module in tree.modules
        for target, name in imported(tree, module)
        if room(target) != room(module)
    }
    for entered in tree.packages - {""}:
        offered = {(entered, name) for name in face(tree, entered)}
        for inner, names in opened(tree, entered).items():
            offered |= {(f"{entered}.{inner}", name) for name in names}
        assert offered <= used


def build(root: Path, **modules: str) -> Tree:
    """Return a tree of modules with this text, by their names with __ for a dot."""
    for name, text in modules.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for parent in path.parents:
            if parent != root.parent:
                (parent / "__init__.py").touch()
            if parent == root:
                break
    return read_tree(root)


FOLDERS: Final = {
    "devices",
    "discovery",
    "disk_guard",
    "drivers",
    "history",
    "uploader",
}
FORBIDDEN: Final = [
    *((module, target) for module in sorted(NEVER) for target in sorted(NEVER[module])),
    ("const", "shared"),
    ("drivers", "const"),
    ("drivers", "history"),
    ("drivers", "units"),
    ("entity", "discovery"),
    ("history", "sensor"),
    ("http", "services"),
    ("sensor", "repairs"),
    ("translation", "units"),
    ("units", "drivers"),
    ("units", "shared"),
]
"""Rooms, each with one that it must not import."""


@pytest.mark.parametrize(
    "text",
    [
        "from {up}{target} import x",
        "from {up} import {target}",
        "from {package}.{target} import x",
        "from {package} import {target}",
        "import {package}.{target}",
        "import {package}.{target} as x",
        "import custom_components.temperature_logger",
        "from custom_components import temperature_logger",
        "import_module('{package}.{target}')",
        "importlib.import_module('{up}{target}', __package__)",
        "async_import_module(hass, f'{package}.{target}.{{name}}')",
        "if TYPE_CHECKING:\n    from {up}{target} import x",
        "def late() -> None:\n    from {up}{target} import x",
        "def late() -> None:\n    import {package}.{target}",
    ],
)
@pytest.mark.parametrize(("module", "target"), FORBIDDEN)
def test_each_never_rule_can_be_broken(
    tmp_path: Path, module: str, target: str, text: str
) -> None:
    """A forbidden import is found wherever it stands and however it is written."""
    is_folder = module in FOLDERS
    up = ".." if is_folder else "."
    broken = text.format(target=target, package=PACKAGE, up=up)
    name = f"{module}__inner" if is_folder else module
    tree = build(tmp_path / "root", **{name: broken, target: ""})
    # The package as a whole is the module that Home Assistant loads.
    imports = target if target in broken else ""
    assert list(breaches(tree)) == [Breach(name.replace("__", "."), imports)]


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("drivers__workers", "from . import Reading", "drivers"),
        ("drivers__workers", f"from {PACKAGE}.drivers import Reading", "drivers"),
        ("drivers__workers", f"import {PACKAGE}.drivers", "drivers"),
        ("drivers__i2c__bus", "from .. import Fault", "drivers"),
        ("drivers__i2c__bus", "from . import Fault", "drivers.i2c"),
        ("drivers__i2c__bus", "def late():\n    from .. import Fault", "drivers"),
        ("drivers__usb__hub", "import homeassistant.core", "homeassistant.core"),
        ("drivers__usb__hub", "import homeassistant", "homeassistant"),
        ("drivers__hub", "import_module('homeassistant.core')", "homeassistant.core"),
        (
            "drivers__hub",
            "importlib.import_module(name='homeassistant.core')",
            "homeassistant.core",
        ),
        ("drivers__hub", "__import__('homeassistant')", "homeassistant"),
        (
            "drivers__hub",
            "from importlib import import_module as load\nload('homeassistant.core')",
            "homeassistant.core",
        ),
        ("history__rows", "from sqlalchemy import text", "sqlalchemy.text"),
        ("history__rows", "import sqlalchemy", "sqlalchemy"),
        ("history__rows", "from sqlalchemy.sql import text", "sqlalchemy.sql.text"),
        (
            "history__rows",
            "from homeassistant.components.recorder import tasks",
            "homeassistant.components.recorder.tasks",
        ),
        (
            "history__rows",
            "from homeassistant.helpers.recorder import session_scope",
            "homeassistant.helpers.recorder.session_scope",
        ),
        ("history__rows", "connection.exec_driver_sql('x')", "exec_driver_sql"),
        ("history__tables", "from sqlalchemy import text", "sqlalchemy.text"),
        ("history__recorder", "import sqlite3", "sqlite3"),
        ("history__query", "import sqlite3", "sqlite3"),
        ("services", "import sqlite3 as database", "sqlite3"),
        ("services", "from sqlite3 import connect", "sqlite3.connect"),
        ("services", "connection.execute(statement)", "execute"),
        ("services", "from sqlalchemy import select", "sqlalchemy.select"),
        (
            "services",
            "from homeassistant.components import recorder",
            "homeassistant.components.recorder",
        ),
        ("services", "import homeassistant.components", "homeassistant.components"),
        (
            "uploader__outbox",
            "get_instance(hass).states_meta_manager.get_many(x)",
            "states_meta_manager",
        ),
        (
            "uploader__outbox",
            "getattr(get_instance(hass), 'states_manager')",
            "states_manager",
        ),
        ("disk_guard__thinning", "instance.queue_task(task)", "queue_task"),
    ],
)
def test_each_rule_about_insides_can_be_broken(
    tmp_path: Path, module: str, text: str, found: str
) -> None:
    """Its own face, Home Assistant and the recorder are closed to a module."""
    tree = build(tmp_path / "root", **{module: text})
    assert list(breaches(tree)) == [Breach(module.replace("__", "."), found)]


def test_what_the_rules_allow(tmp_path: Path) -> None:
    """Lower floors, the own room and some single files may be imported."""
    tree = build(
        tmp_path / "root",
        const="",
        coordinator="from .devices import x",
        drivers__finder="from . import sysfs\nimport asyncio",
        drivers__sysfs="from .errors import x",
        drivers__errors="",
        devices__kinds="from ..drivers import x",
        entity="from .coordinator import x",
        history__recorder="from homeassistant.components.recorder.core import Recorder",
        history__rows="from sqlalchemy import select\nconnection.execute(select(x))",
        services="from homeassistant.helpers.recorder import get_instance",
        translation="from .drivers import Label\nfrom .const import DOMAIN",
    )
    assert list(breaches(tree)) == []


def test_rules_hold_in_subfolders(tmp_path: Path) -> None:
    """A folder below a room is part of it."""
    tree = build(
        tmp_path / "root",
        drivers__usb__stick="from ...units import x",
        drivers__usb__hub="import homeassistant.core",
        units="",
        coordinator="from .discovery import x",
        discovery__search="from sqlalchemy import select",
        history__rows="from sqlalchemy import select",
    )
    assert set(breaches(tree)) == {
        Breach("drivers.usb.stick", "units"),
        Breach("drivers.usb.hub", "homeassistant.core"),
        Breach("coordinator", "discovery"),
        Breach("discovery.search", "sqlalchemy.select"),
    }


def test_only_names_of_faces_and_open_modules_are_open(tmp_path: Path) -> None:
    """What a room names is open, and nothing else."""
    root = tmp_path / "root"
    build(
        root,
        history__rows="",
        history__export="",
        services="from .history import asked, rows\nfrom .history.export import x",
        http="from .history.rows import x\nfrom .history.export import x, y",
        sensor="from . import history\nfrom .history import export, other",
        repairs=f"import {PACKAGE}.history.export\nfrom .history.export import *",
        entries="async_import_module(hass, f'{__package__}.history.export')",
        config_flow="import_module(f'{__package__}.history.rows')",
    )
    (root / "history/__init__.py").write_text(
        'from .rows import asked\n__all__ = ["asked"]\nLATE = {"export": ("x",)}\n'
    )
    assert sorted(reaches(read_tree(root))) == [
        Breach("config_flow", "history.rows"),
        Breach("http", "history.export.y"),
        Breach("http", "history.rows.x"),
        Breach("repairs", "history.export"),
        Breach("repairs", "history.export.*"),
        Breach("sensor", "history"),
        Breach("sensor", "history.export"),
        Breach("sensor", "history.other"),
        Breach("services", "history.rows"),
    ]


def test_circles_and_chains_are_found(tmp_path: Path) -> None:
    """Three modules in a circle are one, and so is a name that a face hands on."""
    circle = build(
        tmp_path / "circle",
        one="from .two import x",
        two="from .three import x",
        three="from .one import x",
    )
    assert circles(read_imports(circle)) == [["one", "three", "two"]]
    with pytest.raises(ValueError, match=r"import each other: .*one.*three.*two"):
        longest_chain(read_imports(circle))
    root = tmp_path / "chain"
    build(root, sensor="from .history import x", history__rows="from ..const import x")
    (root / "history/__init__.py").write_text("from .rows import x\n")
    (root / "const.py").touch()
    imports = read_imports(read_tree(root))
    assert longest_chain(imports) == ["sensor", "history.rows", "const"]
    # Two faces that hand on a name to each other.
    (root / "devices").mkdir()
    (root / "devices/__init__.py").write_text("from ..history import y\n")
    hands_on = "from .rows import x\nfrom ..devices import y\n"
    (root / "history/__init__.py").write_text(hands_on)
    assert read_imports(read_tree(root))["sensor"] == {"history.rows"}
