"""The rooms of the integration stand above each other, and keep to their doors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from .structure import (
    PACKAGE,
    Tree,
    circles,
    face,
    folded,
    imported,
    longest_chain,
    open_modules,
    read_imports,
    read_outside,
    read_tree,
)

COMPONENT = Path(__file__).parent.parent / "custom_components/temperature_logger"
FLOORS: Final = 6
MODULES_DEEP: Final = 7
GROUND: Final = {"const", "shared", "translation", "units"}
ROOMS: Final = {"devices", "discovery", "disk_guard", "drivers", "history", "uploader"}
# Home Assistant imports these by name; nothing else does.
PLATFORMS: Final = {
    "",
    "binary_sensor",
    "config_flow",
    "diagnostics",
    "repairs",
    "sensor",
    "system_health",
}
# The room on the left must never import those on the right.
NEVER: Final = {
    "alarms": {"discovery", "uploader"},
    "coordinator": {"discovery", "uploader"},
    "devices": {"coordinator", "discovery", "uploader"},
    "disk_guard": {"uploader"},
    "frontend": {"drivers"},
    "history": {"alarms", "devices", "discovery", "disk_guard", "intake", "uploader"},
    "intake": {"discovery", "uploader"},
    "uploader": {"devices", "discovery"},
}
# Only these modules know the insides of the recorder.
RECORDER: Final = ("homeassistant.components.recorder", "sqlalchemy")
KNOW_THE_RECORDER: Final = {"history.recorder", "history.rows", "history.tables"}


class Breach(NamedTuple):
    """A module that imports what it must not."""

    module: str
    imports: str


def room(module: str) -> str:
    """Return the room of a module: its folder, or itself at the top."""
    return module.partition(".")[0]


def breaches(tree: Tree) -> Iterator[Breach]:
    """Yield the imports that a never-rule forbids."""
    for module, targets in read_imports(tree).items():
        for target in targets:
            from_room, to_room = room(module), room(target)
            if (
                to_room in NEVER.get(from_room, set())
                or (from_room == "drivers" != to_room)
                or (to_room in PLATFORMS and from_room != to_room)
            ):
                yield Breach(module, target)
    for module, names in read_outside(tree).items():
        for name in names:
            if room(module) == "drivers" and name.startswith("homeassistant"):
                yield Breach(module, name)
            if name.startswith(RECORDER) and module not in KNOW_THE_RECORDER:
                yield Breach(module, name)


def reaches(tree: Tree) -> Iterator[Breach]:
    """Yield the imports that reach past the face of a room."""
    for module in tree.modules:
        for target, name in imported(tree, module):
            entered = room(target)
            if entered not in ROOMS or entered == room(module):
                continue
            opened = open_modules(tree, entered)
            if target == entered and name in face(tree, entered) | opened:
                continue
            if target.removeprefix(f"{entered}.") not in opened:
                yield Breach(module, f"{target}.{name}")


@pytest.fixture(name="tree", scope="module")
def tree_fixture() -> Tree:
    """Return the modules of the integration."""
    return read_tree(COMPONENT)


def test_no_modules_import_each_other(tree: Tree) -> None:
    """A module can be read, and tested, after those that it imports."""
    assert circles(read_imports(tree)) == []


def test_chains_of_imports_are_short(tree: Tree) -> None:
    """A reader reaches the ground in a few steps."""
    assert len(chain := longest_chain(read_imports(tree))) <= MODULES_DEEP, chain


def test_rooms_stand_on_six_floors(tree: Tree) -> None:
    """The ground and the platforms count as one room each."""

    def floor(module: str) -> str:
        if (own := room(module)) in GROUND:
            return "ground"
        return own if own in ROOMS | {"coordinator"} else "platforms"

    rooms = folded(read_imports(tree), floor)
    assert circles(rooms) == []
    assert len(chain := longest_chain(rooms)) <= FLOORS, chain


def test_never_rules_are_kept(tree: Tree) -> None:
    """A room does not know those that stand above or beside it."""
    assert sorted(breaches(tree)) == []


def test_rooms_are_entered_by_their_faces(tree: Tree) -> None:
    """What a folder's __init__ does not name may change without a word to others."""
    assert sorted(reaches(tree)) == []


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


@pytest.mark.parametrize(
    "text",
    [
        "from ..{target} import x",
        "from .. import {target}",
        "from {package}.{target} import x",
        "if TYPE_CHECKING:\n    from ..{target} import x",
        "def late() -> None:\n    from ..{target} import x",
    ],
)
@pytest.mark.parametrize(
    ("module", "target"),
    [
        (module, target)
        for module in sorted(NEVER)
        for target in sorted(NEVER[module])
        if module != "coordinator"
    ]
    + [("drivers", "units"), ("drivers", "history"), ("history", "sensor")],
)
def test_each_never_rule_can_be_broken(
    tmp_path: Path, module: str, target: str, text: str
) -> None:
    """A forbidden import is found wherever it stands and however it is written."""
    broken = text.format(target=target, package=PACKAGE)
    tree = build(tmp_path / "root", **{f"{module}__inner": broken, target: ""})
    assert list(breaches(tree)) == [Breach(f"{module}.inner", target)]


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
        Breach("discovery.search", "sqlalchemy"),
        Breach("discovery.search", "sqlalchemy.select"),
    }


def test_only_faces_and_open_modules_are_open(tmp_path: Path) -> None:
    """What a room names is open, and nothing else."""
    tree = build(
        tmp_path / "root",
        history__rows="",
        history__export="",
        services="from .history import asked, rows\nfrom .history.export import x",
        http="from .history.rows import x",
    )
    root = tmp_path / "root"
    (root / "history/__init__.py").write_text(
        'from .rows import asked\n__all__ = ["asked"]\nLATE = ("export",)\n'
    )
    tree = read_tree(root)
    assert set(reaches(tree)) == {
        Breach("services", "history.rows"),
        Breach("http", "history.rows.x"),
    }


def test_circles_and_chains_are_found(tmp_path: Path) -> None:
    """Three modules in a circle are one, and so is a name that a face hands on."""
    circle = build(
        tmp_path / "circle",
        one="from .two import x",
        two="from .three import x",
        three="from .one import x",
    )
    assert circles(read_imports(circle)) == [["one", "three", "two"]]
    root = tmp_path / "chain"
    build(root, sensor="from .history import x", history__rows="from ..const import x")
    (root / "history/__init__.py").write_text("from .rows import x\n")
    (root / "const.py").touch()
    imports = read_imports(read_tree(root))
    assert longest_chain(imports) == ["sensor", "history.rows", "const"]
