"""Faults that can be switched on in emulated hardware."""

from dataclasses import dataclass, field
import os
import threading
from typing import Any, ClassVar


@dataclass(kw_only=True, slots=True)
class Fault:
    """A fault: its kind, and when it strikes."""

    name: str
    argument: float | None = None
    """Seconds of a delay or time-out, bytes of a short report."""
    count: int = 0
    """The number of accesses that it still strikes; 0: until it is cleared."""
    on: frozenset[str]
    """The kinds of access that it strikes."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when it is cleared."""

    def hold(self, seconds: float) -> None:
        """Hold up an access: for some seconds, for the argument, or until cleared."""
        self.over.wait(seconds if self.argument is None else self.argument)


def failure(number: int) -> OSError:
    """Return the exception of an errno."""
    return OSError(number, os.strerror(number))


class Faulty:
    """Hardware that can be made to fail."""

    FAULTS: ClassVar[dict[str, frozenset[str]]]
    """The kinds of access that each known fault strikes."""

    fault: Fault | None = None
    _latest: Fault | None = None
    """The last fault, kept after its last strike."""

    def fail(
        self,
        name: str,
        argument: float | None = None,
        *,
        count: int = 0,
        on: str | None = None,
    ) -> None:
        """Fail from now on, the next count times, or only on one kind of access."""
        kinds = self.FAULTS[name]
        self.fault = self._latest = Fault(
            name=name,
            argument=argument,
            count=count,
            on=kinds if on is None else frozenset({on}),
        )

    def clear(self) -> None:
        """Work again, and release the accesses that the fault holds up."""
        if self._latest is not None:
            self._latest.over.set()
        self.fault = None

    def fail_as(self, spec: str | dict[str, Any] | None) -> None:
        """Fail as the "fault" of a spec says: by name, or by fail()'s arguments."""
        if spec is None:
            self.clear()
        else:
            self.fail(**({"name": spec} if isinstance(spec, str) else spec))

    def strike(self, kind: str) -> Fault | None:
        """Return the fault for an access of this kind, and count the strike."""
        fault = self.fault
        if fault is None or kind not in fault.on:
            return None
        if fault.count:
            fault.count -= 1
            if not fault.count:
                self.fault = None
        return fault
