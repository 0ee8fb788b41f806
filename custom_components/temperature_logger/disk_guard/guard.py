"""Watches how full the disk is, warns, and thins old readings if it may.

It lives as long as Home Assistant, as what it has begun outlives a reload of its entry.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
import time
from typing import TYPE_CHECKING, Any, Final

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import CoreState, Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from ..const import (
    CONF_DISK_GUARD,
    CONF_DISK_LIMIT,
    DEFAULT_DISK_LIMIT,
    DOMAIN,
    LOGGER,
    DiskGuard,
    Refusal,
)
from ..history.readings import iso
from ..history.retention import A_DAY, thinnable_until
from ..history.targets import async_reading_entries
from ..translation import refused

if TYPE_CHECKING:
    from homeassistant.components.recorder.tasks import RecorderTask
    from sqlalchemy import Connection

    from ..coordinator import ReadingCoordinator
    from .database import Room, Survey
    from .thinning import Done, Tally

DATA_GUARD: HassKey[Guard] = HassKey(f"{DOMAIN}_guard")
EVENT_THINNED: Final = f"{DOMAIN}_readings_thinned"
ISSUE: Final = "disk_full"
SIGNAL_THINNED: Final = f"{DOMAIN}_thinned"
STORE_KEY: Final = f"{DOMAIN}.disk_guard"
STORE_VERSION: Final = 1
# Days for which the database need not grow: then thinning has done its work.
ENOUGH: Final = 7
# Seconds between two looks at the database while the disk stays full.
LOOK_EVERY: Final = 3600
# Percent below the limit at which a disk has room again: what comes and goes, such as
# the journal of a database, is no reason to tell of it each time.
MARGIN: Final = 2
# Seconds between two looks whether the recorder still works.
PATIENCE: Final = 60
WOULD_THIN: Final = "thin"
THINNING: Final = "thinning"


class Outcome(StrEnum):
    """What the owner is told while the disk is full: the key of the text."""

    DISK_FULL = "disk_full"
    """The guard is to warn only, or has not looked at the database yet."""
    ELSEWHERE = "disk_full_elsewhere"
    FAILED = "disk_full_failed"
    INTERRUPTED = "disk_full_interrupted"
    """A pass ended with Home Assistant, or with the options that it was begun with."""
    NOT_REPACKED = "disk_full_not_repacked"
    """Readings were thinned, and the disk has no room for more than that."""
    REUSABLE = "disk_full_reusable"
    """Readings were thinned, and the database keeps the room for itself."""
    ROOMY = "disk_full_roomy"
    THINNED = "disk_full_thinned"
    TOO_FEW = "disk_full_too_few"
    UNKNOWN = "disk_full_unknown"
    """The database does not answer."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One thinning; it is remembered before it begins."""

    began: float
    """Unix time."""
    ended: bool = False
    """False until it has, and of one that was interrupted."""
    rows: int = 0
    minutes: int = 0
    """The slot of the last step."""
    first: float | None = None
    last: float | None = None
    bytes: int = 0
    """What it freed inside the database."""
    repacked: bool = False
    disk_bytes: int = 0
    """By how much the database is smaller."""
    error: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the owner is told of it."""
        if self.error:
            return Outcome.FAILED
        if not self.ended:
            return Outcome.INTERRUPTED
        if not self.repacked:
            return Outcome.NOT_REPACKED
        return Outcome.THINNED if self.disk_bytes else Outcome.REUSABLE

    @property
    def shown(self) -> dict[str, Any]:
        """What is told of it, with times in ISO 8601."""
        times = {"began": self.began, "first": self.first, "last": self.last}
        return asdict(self) | {
            name: None if at is None else iso(at) for name, at in times.items()
        }


def decide(
    room: Room | None, last: Pass | None, *, has_cleared: bool
) -> Outcome | Room:
    """Return why nothing is thinned now, or the room that the database has before."""
    if room is None:
        return Outcome.ELSEWHERE
    if room.free >= ENOUGH * room.growth:
        return Outcome.ROOMY
    if last is not None:
        days = max(0.0, time.time() - last.began) / A_DAY
        # What it freed was given to the disk, or PostgreSQL counts it no more.
        left = max(last.bytes, last.disk_bytes) - days * room.growth
        # Where the disk stayed full in spite of it, something else fills the disk.
        if days < (1 if has_cleared else ENOUGH) or left >= room.growth:
            return last.outcome
    return room


def matters(steps: list[Tally], room: Room) -> bool:
    """Return whether what all steps would delete lasts for a day."""
    return steps[-1].rows * room.row >= room.growth


class Guard:
    """The guard of the disk that Home Assistant's configuration is on."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin without a memory."""
        self.last: Pass | None = None
        self.busy = False
        self.has_cleared = False
        """Whether the disk has had room since the last pass."""
        self._coordinator: ReadingCoordinator | None = None
        self._hass = hass
        self._look_after = 0.0
        self._store = Store[dict[str, Any]](hass, STORE_VERSION, STORE_KEY)

    async def async_load(self) -> None:
        """Remember the last pass."""
        if (stored := await self._store.async_load()) is not None:
            self.last = Pass(**stored)
        self._hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, self._async_stop)

    async def async_forget(self) -> None:
        """Leave nothing behind."""
        self.last = None
        await self._store.async_remove()

    @callback
    def async_watch(self, coordinator: ReadingCoordinator) -> None:
        """Look at this reading of the machine, and at each that comes."""
        entry = coordinator.config_entry
        self._coordinator = coordinator
        self._look_after = 0.0
        entry.async_on_unload(self._async_leave)
        entry.async_on_unload(coordinator.async_add_listener(self._async_polled))
        self._async_polled()

    @callback
    def _async_leave(self) -> None:
        """End a pass with its step, and take back what was told."""
        self._coordinator = None
        ir.async_delete_issue(self._hass, DOMAIN, ISSUE)

    @callback
    def _async_stop(self, _: Event) -> None:
        """End a pass before Home Assistant does."""
        self._coordinator = None

    @callback
    def _async_polled(self) -> None:
        """Find out whether something has to be told, or done."""
        if self._coordinator is None or not self._coordinator.last_update_success:
            return
        options = self._coordinator.config_entry.options
        mode = options.get(CONF_DISK_GUARD, DiskGuard.OFF)
        limit = options.get(CONF_DISK_LIMIT, DEFAULT_DISK_LIMIT)
        usage = self._coordinator.data.space_usage or 0.0
        if mode == DiskGuard.OFF or usage < limit - MARGIN:
            self._clear()
        elif usage >= limit:
            if not self._is_told:
                self._tell(self._coordinator, Outcome.DISK_FULL)
            if mode == DiskGuard.THIN:
                self._act(self._coordinator)

    @callback
    def _clear(self) -> None:
        """Take back what was told, as the disk has room or nobody wants to know."""
        ir.async_delete_issue(self._hass, DOMAIN, ISSUE)
        self.has_cleared = True

    @property
    def _is_told(self) -> bool:
        """Whether there is an issue."""
        return ir.async_get(self._hass).async_get_issue(DOMAIN, ISSUE) is not None

    @callback
    def _act(self, asked: ReadingCoordinator) -> None:
        """Look at the database now and then, one look at a time."""
        if (
            DATA_INSTANCE in self._hass.data
            and self._hass.state is CoreState.running
            and not self.busy
            and time.monotonic() >= self._look_after
        ):
            self.busy = True
            self._hass.async_create_task(self._async_act(asked))

    async def _async_act(self, asked: ReadingCoordinator) -> None:
        """Look at the database, thin it if that helps, and tell.

        It ends soon if something else than this reading's device, with its options, is
        watched meanwhile, or nothing.
        """
        error = ""
        try:
            survey = await async_survey(self._hass)
            outcome = decide(survey.room, self.last, has_cleared=self.has_cleared)
            if not isinstance(outcome, Outcome):
                outcome = await self._async_thin(asked, survey, outcome)
        except HomeAssistantError as err:
            outcome, error = Outcome.UNKNOWN, reason(err)
        finally:
            self.busy = False
            self._look_after = time.monotonic() + LOOK_EVERY
        # It may have got room meanwhile, which was told.
        if self._coordinator is asked and self._is_told:
            self._tell(asked, outcome, error)

    @callback
    def _tell(
        self, asked: ReadingCoordinator, outcome: Outcome, error: str = ""
    ) -> None:
        """Raise the issue."""
        options = asked.config_entry.options
        last = self.last or Pass(began=0.0)
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            ISSUE,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=outcome,
            translation_placeholders={
                "error": error or last.error,
                "folder": self._hass.config.config_dir,
                "limit": f"{options.get(CONF_DISK_LIMIT, DEFAULT_DISK_LIMIT):g}",
                "minutes": str(last.minutes),
                "mib": f"{last.disk_bytes / 2**20:.1f}",
                "rows": str(last.rows),
            },
        )

    async def _async_thin(
        self, asked: ReadingCoordinator, survey: Survey, room: Room
    ) -> Outcome:
        """Thin until it is enough, if that matters, and say what that was."""
        from .database import free
        from .thinning import Tally, ThinTask, thin

        if not matters(await async_steps(self._hass, survey), room):
            return Outcome.TOO_FEW
        if self._coordinator is not asked:
            return Outcome.INTERRUPTED
        # Should Home Assistant crash now, it is not tried again within a day.
        done = await self._async_remember(asked, Pass(began=time.time()))
        tally = Tally()

        def until() -> float:
            """Return up to when readings may go: none, once it is not asked for."""
            return thinnable_until(self._hass) if self._coordinator is asked else 0.0

        def enough(connection: Connection, tally: Tally) -> bool:
            """Return whether the database need not grow for days."""
            roomy = free(connection, tally.rows) >= ENOUGH * room.growth
            return roomy or self._coordinator is not asked

        ids, error = survey.metadata_ids, ""
        work = thin(get_instance(self._hass), ids, until, enough, tally)
        try:
            await self._async_run(partial(ThinTask, work))
        except HomeAssistantError as err:
            error = reason(err)
        done = replace(done, **asdict(tally), error=error)
        if not error:
            done = await self._async_repack(asked, done, room)
        self._async_report(await self._async_remember(asked, done))
        return done.outcome

    async def _async_remember(self, asked: ReadingCoordinator, last: Pass) -> Pass:
        """Know the last pass after a restart, too, unless the device was deleted."""
        entry_id = asked.config_entry.entry_id
        if self._hass.config_entries.async_get_entry(entry_id) is not None:
            self.last, self.has_cleared = last, False
            await self._store.async_save(asdict(last))
        return last

    async def _async_repack(
        self, asked: ReadingCoordinator, done: Pass, before: Room
    ) -> Pass:
        """Give what a pass freed to the disk if it has room for that; return it all."""
        from .database import freed, room
        from .thinning import RepackTask

        job = get_instance(self._hass).async_add_executor_job
        try:
            done = replace(done, bytes=await job(freed, self._hass, before, done.rows))
            now = await job(room, self._hass)
            done = replace(done, ended=self._coordinator is asked)
            if done.ended and done.rows and now is not None and now.can_repack:
                await self._async_run(RepackTask)
                done = replace(done, repacked=True)
                after = await job(room, self._hass)
                smaller = 0 if after is None else max(0, before.size - after.size)
                done = replace(done, disk_bytes=smaller)
        except HomeAssistantError as err:
            done = replace(done, error=reason(err))
        return done

    async def _async_run(self, make: Callable[[Done], RecorderTask]) -> None:
        """Let the recorder's thread do a task; raise what went wrong."""
        loop, instance = self._hass.loop, get_instance(self._hass)
        ended: asyncio.Future[None] = loop.create_future()

        def done(error: HomeAssistantError | None) -> None:
            """Tell the loop, from the recorder's thread."""
            loop.call_soon_threadsafe(_end, ended, error)

        instance.queue_task(make(done))
        while not ended.done():
            await asyncio.wait([ended], timeout=PATIENCE)
            if not instance.is_alive():
                done(refused(Refusal.RECORDER_FAILED, error="its thread has ended"))
        ended.result()

    @callback
    def _async_report(self, done: Pass) -> None:
        """Tell what a pass did to whoever listens."""
        LOGGER.warning(
            "The disk is getting full. Thinned readings to one in %d minutes: %d rows "
            "deleted, from %s to %s; %d bytes freed inside the database, which was "
            "%srepacked and is %d bytes smaller%s",
            *(done.minutes, done.rows, done.shown["first"], done.shown["last"]),
            *(done.bytes, "" if done.repacked else "not ", done.disk_bytes),
            f"; it failed: {done.error}" if done.error else "",
        )
        self._hass.bus.async_fire(EVENT_THINNED, done.shown)
        async_dispatcher_send(self._hass, SIGNAL_THINNED)


def _end(ended: asyncio.Future[None], error: HomeAssistantError | None) -> None:
    """Say once how a task ended."""
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


def reason(err: HomeAssistantError) -> str:
    """Return what the database said, without the advice for who asked it."""
    return (err.translation_placeholders or {}).get("error", str(err))


async def async_guard(hass: HomeAssistant) -> Guard:
    """Return the guard, with its memory."""
    if (guard := hass.data.get(DATA_GUARD)) is None:
        guard = hass.data[DATA_GUARD] = Guard(hass)
        await guard.async_load()
    return guard


async def async_survey(hass: HomeAssistant) -> Survey:
    """Return what there is to decide on; raise HomeAssistantError without it."""
    if DATA_INSTANCE not in hass.data:
        raise refused(Refusal.NO_RECORDER)
    await async_import_module(hass, f"{__package__}.database")
    await async_import_module(hass, f"{__package__}.thinning")
    from .database import survey

    entity_ids = [entry.entity_id for entry in async_reading_entries(hass)]
    return await get_instance(hass).async_add_executor_job(survey, hass, entity_ids)


async def async_steps(hass: HomeAssistant, survey: Survey) -> list[Tally]:
    """Return what would be deleted by each step and those before it."""
    from .thinning import preview

    return await get_instance(hass).async_add_executor_job(
        preview, hass, survey.metadata_ids, lambda: thinnable_until(hass)
    )


async def async_preview(hass: HomeAssistant) -> dict[str, Any]:
    """Return what each step would delete, and what the guard would do now."""
    survey = await async_survey(hass)
    until = thinnable_until(hass)
    steps = await async_steps(hass, survey)
    room = survey.room
    guard = await async_guard(hass)
    last = guard.last
    found = decide(room, last, has_cleared=guard.has_cleared)
    would = found if isinstance(found, Outcome) else WOULD_THIN
    if not isinstance(found, Outcome) and not matters(steps, found):
        would = Outcome.TOO_FEW
    if guard.busy:
        would = THINNING
    return {
        "until": iso(until),
        "steps": [
            {
                "minutes": step.minutes,
                "rows": step.rows,
                "first": None if step.first is None else iso(step.first),
                "last": None if step.last is None else iso(step.last),
                "bytes": None if room is None else step.rows * room.row,
            }
            for step in steps
        ],
        "database": None if room is None else room.told,
        "last_pass": None if last is None else last.shown,
        "outcome": would,
    }
