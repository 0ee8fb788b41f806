"""Passes of the disk guard: previews one, or thins, repacks and reports."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
import time
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance

from ..const import DOMAIN, LOGGER, Refusal
from ..history import async_reading_entries, thinnable_until
from ..history.readings import iso
from ..translation import refused
from .decision import Outcome, Pass, decide, is_worthwhile
from .memory import async_memory
from .space import DatabaseSpace, Measurement

if TYPE_CHECKING:
    from .thinning import Tally

EVENT_THINNED: Final = f"{DOMAIN}_readings_thinned"
SIGNAL_THINNED: Final = f"{DOMAIN}_thinned"
WOULD_THIN: Final = "thin"
THINNING: Final = "thinning"


async def async_measure(hass: HomeAssistant) -> Measurement:
    """Measure the database; raise HomeAssistantError if that is not possible."""
    if DATA_INSTANCE not in hass.data:
        raise refused(Refusal.NO_RECORDER)
    await async_import_module(hass, f"{__package__}.database")
    await async_import_module(hass, f"{__package__}.thinning")
    from .database import measure

    entity_ids = [entry.entity_id for entry in async_reading_entries(hass)]
    return await get_instance(hass).async_add_executor_job(measure, hass, entity_ids)


async def async_steps(hass: HomeAssistant, measurement: Measurement) -> list[Tally]:
    """Return the rows that each step would delete, with those of the steps before."""
    from .thinning import preview

    return await get_instance(hass).async_add_executor_job(
        preview, hass, measurement.metadata_ids, lambda: thinnable_until(hass)
    )


async def async_preview(hass: HomeAssistant) -> dict[str, Any]:
    """Return what each step would delete, and what the disk guard would do now."""
    measurement = await async_measure(hass)
    space = measurement.space
    until = thinnable_until(hass)
    steps = await async_steps(hass, measurement)
    memory = await async_memory(hass)
    last = memory.last
    decision = decide(space, last, time.time(), has_cleared=memory.has_cleared)
    outcome = decision if isinstance(decision, Outcome) else WOULD_THIN
    if not isinstance(decision, Outcome) and not is_worthwhile(
        steps[-1].rows, decision
    ):
        outcome = Outcome.TOO_FEW
    return {
        "until": iso(until),
        "steps": [_step(step, space) for step in steps],
        "database": None if space is None else space.summary,
        "last_pass": None if last is None else last.summary,
        "outcome": THINNING if memory.is_busy else outcome,
    }


def _step(step: Tally, space: DatabaseSpace | None) -> dict[str, Any]:
    """Return what a step would delete."""
    return {
        "minutes": step.minutes,
        "rows": step.rows,
        "first": None if step.first is None else iso(step.first),
        "last": None if step.last is None else iso(step.last),
        "bytes": None if space is None else step.rows * space.row,
    }


class ThinningPass:
    """One pass: thins the readings and repacks the database; it can be interrupted."""

    def __init__(
        self,
        hass: HomeAssistant,
        measurement: Measurement,
        before: DatabaseSpace,
        *,
        is_wanted: Callable[[], bool],
        remember: Callable[[Pass], Awaitable[None]],
    ) -> None:
        """Set the space of the database before the pass; nothing begins yet.

        `is_wanted` returns False to interrupt the pass; it is called in any thread.
        """
        self._before = before
        self._hass = hass
        self._is_wanted = is_wanted
        self._measurement = measurement
        self._remember = remember

    async def async_run(self) -> Outcome:
        """Thin until enough space is free, if it is worthwhile; return the outcome."""
        steps = await async_steps(self._hass, self._measurement)
        if not is_worthwhile(steps[-1].rows, self._before):
            return Outcome.TOO_FEW
        if not self._is_wanted():
            return Outcome.INTERRUPTED
        result = Pass(began=time.time())
        # If Home Assistant crashes now, no other pass begins within a day.
        await self._remember(result)
        result = await self._async_thin(result)
        if not result.error:
            result = await self._async_repack(result)
        await self._remember(result)
        _async_report(self._hass, result)
        return result.outcome

    async def _async_thin(self, result: Pass) -> Pass:
        """Thin the readings; return the pass with the deleted rows."""
        from ..history.recorder import async_work
        from .database import is_enough
        from .thinning import Tally, thin

        tally, error = Tally(), ""

        def until() -> float:
            """Return the Unix time before which readings may be deleted."""
            return thinnable_until(self._hass) if self._is_wanted() else 0.0

        def is_last_step() -> bool:
            """Return whether enough space is free, or the pass is interrupted."""
            is_last = is_enough(self._hass, self._before, tally.rows)
            return is_last or not self._is_wanted()

        ids = self._measurement.metadata_ids
        try:
            work = thin(self._hass, ids, until, is_last_step, tally)
            await async_work(self._hass, work)
        except HomeAssistantError as err:
            error = reason(err)
        return replace(result, **asdict(tally), error=error)

    async def _async_repack(self, result: Pass) -> Pass:
        """Repack the database, if the disk has the space for that."""
        from ..history.recorder import async_repack
        from .database import freed_bytes, measure_space

        hass, job = self._hass, get_instance(self._hass).async_add_executor_job
        try:
            freed = await job(freed_bytes, hass, self._before, result.rows)
            result = replace(result, bytes=freed)
            space = await job(measure_space, hass)
            result = replace(result, ended=self._is_wanted())
            if result.ended and result.rows and space is not None and space.can_repack:
                await async_repack(hass)
                result = replace(result, repacked=True)
                after = await job(measure_space, hass)
                smaller = 0 if after is None else max(0, self._before.size - after.size)
                result = replace(result, disk_bytes=smaller)
        except HomeAssistantError as err:
            result = replace(result, error=reason(err))
        return result


@callback
def _async_report(hass: HomeAssistant, result: Pass) -> None:
    """Log what a pass did, and fire its event."""
    summary = result.summary
    LOGGER.warning(
        "The disk is getting full. Thinned readings to one in %d minutes: %d rows "
        "deleted, from %s to %s; %d bytes freed inside the database, which was "
        "%srepacked and is %d bytes smaller%s",
        *(result.minutes, result.rows, summary["first"], summary["last"]),
        *(result.bytes, "" if result.repacked else "not ", result.disk_bytes),
        f"; it failed: {result.error}" if result.error else "",
    )
    hass.bus.async_fire(EVENT_THINNED, summary)
    async_dispatcher_send(hass, SIGNAL_THINNED)


def reason(err: HomeAssistantError) -> str:
    """Return the error of the database, without the text around it."""
    return (err.translation_placeholders or {}).get("error", str(err))
