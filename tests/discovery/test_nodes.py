"""Changes of the nodes in /dev are noticed without an event of USB."""

import asyncio
from pathlib import Path

import pytest

from custom_components.temperature_logger.discovery import nodes
from tests.drivers.conftest import open_files


async def handle_events() -> None:
    """Let the event loop handle the events that the kernel has."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_changes_of_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that appears, gets other permissions or vanishes is a change."""
    monkeypatch.setattr(nodes, "node_folder", lambda: tmp_path)
    changes: list[str] = []
    step = ""
    stop = nodes.async_watch_nodes(lambda: changes.append(step))
    for step in ("hidraw0", "i2c-1", "ttyUSB2"):
        (tmp_path / step).touch()
        await handle_events()
    assert changes == ["hidraw0", "i2c-1", "ttyUSB2"]
    for step in ("sda", "i2c", "ttyS0", "xhidraw0"):
        (tmp_path / step).touch()
        await handle_events()
    assert len(changes) == 3
    step = "permission"
    (tmp_path / "hidraw0").chmod(0o600)
    await handle_events()
    step = "removal"
    (tmp_path / "i2c-1").unlink()
    await handle_events()
    assert changes[3:] == ["permission", "removal"]
    stop()
    (tmp_path / "hidraw1").touch()
    await handle_events()
    assert len(changes) == 5


async def test_folder_that_cannot_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its folder, the watch leaves no file open."""
    monkeypatch.setattr(nodes, "node_folder", lambda: tmp_path / "missing")
    files = open_files()
    with pytest.raises(FileNotFoundError):
        nodes.async_watch_nodes(lambda: None)
    assert open_files() == files
