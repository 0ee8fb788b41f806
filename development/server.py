"""The Home Assistant process."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from pathlib import Path
import signal
import sys
from time import monotonic

from homeassistant.const import RESTART_EXIT_CODE

from .errors import DevelopError

# The statistics of a first start take the recorder some seconds, even during a stop.
EXPLANATION_DELAY_S = 5.0

EXPLANATION = "It is still compiling statistics; Ctrl-C once more ends it at once."

# Ctrl-C in a terminal can arrive as two signals: from the terminal and from a parent
# process.
SAME_SIGNAL_S = 1.0

type Greeting = Callable[[], Coroutine[None, None, None]]


class Server:
    """A runner of Home Assistant until a signal comes."""

    def __init__(self, folder: Path, environment: dict[str, str], lock: int) -> None:
        """Take the configuration folder, whose lock the process shares."""
        self._folder = folder
        self._environment = environment
        self._lock = lock
        self._process: Process | None = None
        self._stopped_at: float | None = None

    async def run(self, greeting: Greeting) -> None:
        """Run it, and greet after each start, as Home Assistant may restart itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        code = RESTART_EXIT_CODE
        while code == RESTART_EXIT_CODE and self._stopped_at is None:
            code = await self._run_once(greeting)
        if code and self._stopped_at is None:
            log = self._folder / "home-assistant.log"
            raise DevelopError(f"Home Assistant ended with status {code}: see {log}.")

    async def _run_once(self, greeting: Greeting) -> int:
        """Run the process to its end and return its exit status."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "development.hass"),
            *("--config", str(self._folder), "--skip-pip"),
            env=self._environment,
            pass_fds=(self._lock,),
            # Ctrl-C goes to a whole process group; here one signal is enough.
            process_group=0,
        )
        exit_task = asyncio.create_task(process.wait())
        greeting_task = asyncio.create_task(greeting())
        exit_task.add_done_callback(lambda _: greeting_task.cancel())
        await asyncio.wait(
            {exit_task, greeting_task}, return_when=asyncio.FIRST_EXCEPTION
        )
        if not exit_task.done():
            process.terminate()
        code = await exit_task
        # A greeting that failed ends everything, unless the end interrupted it.
        if not greeting_task.cancelled() and self._stopped_at is None:
            greeting_task.result()
        return code

    def _stop(self) -> None:
        """Stop the process: cleanly at the first signal, at once at a later one."""
        if self._stopped_at is None:
            print("\nStopping Home Assistant.")
            self._stopped_at = monotonic()
            self._signal(signal.SIGTERM)
            asyncio.get_running_loop().call_later(
                EXPLANATION_DELAY_S, print, EXPLANATION
            )
        elif monotonic() - self._stopped_at > SAME_SIGNAL_S:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
