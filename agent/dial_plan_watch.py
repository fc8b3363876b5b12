"""The dial plan in force, and its reload while calls go on: by SIGHUP, or when the file has changed.

A file with a fault changes nothing: the plan in force stays, and the log says why. Event loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from agent import metrics
from agent.dial_plan import DialPlan, PlanTree
from agent.dial_plan_file import read_plan, resolve
from agent.duplex import Tokens
from agent.errors import ConfigError
from agent.settings import Settings
from telephony.errors import TelephonyError

LOOK_S = 1.0

log = structlog.get_logger(__name__)

Apply = Callable[[DialPlan], Awaitable[None]]
_Look = tuple[int, int, int] | None


def load_plan(settings: Settings, environ: Mapping[str, str], tokens: Tokens) -> DialPlan:
    """The plan that the settings name; without a file, one that has neither trunks nor lines.

    Raises ConfigError.
    """
    path = settings.sip.trunks_file
    tree = read_plan(path, environ) if path is not None else PlanTree()
    return resolve(tree, settings, tokens, path)


class DialPlanBook:
    """Answers with the plan in force, and keeps it so."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], tokens: Tokens) -> None:
        """Raises ConfigError if the file has a fault: at the start there is no plan to fall back to."""
        self._settings, self._environ, self._tokens = settings, dict(environ), tokens
        self._path = settings.sip.trunks_file
        self._seen = self._look()
        self.plan = load_plan(settings, environ, tokens)
        self.asked = asyncio.Event()  # somebody wants a reload now

    def _look(self) -> _Look:
        """What changes when the file does; None while it cannot be seen."""
        if self._path is None:
            return None
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size

    async def reload(self, apply: Apply) -> bool:
        """Read the file again and have a changed plan applied; False if it could not be."""
        self._seen = self._look()
        try:
            plan = await asyncio.to_thread(load_plan, self._settings, self._environ, self._tokens)
            if plan != self.plan:
                await apply(plan)
                self.plan = plan
        except Exception as error:  # whatever it is, the plan before goes on, and so do its calls
            is_known = isinstance(error, ConfigError | TelephonyError)
            log.error(
                "dial_plan_refused",
                cause=str(error) if is_known else type(error).__name__,
                remedy="mend the file; the plan before stays",
                exc_info=not is_known,
            )
            metrics.DIAL_PLAN_RELOADS.labels("refused").inc()
            return False
        log.info("dial_plan_loaded", num_trunks=len(plan.trunks), num_lines=len(plan.lines))
        metrics.DIAL_PLAN_RELOADS.labels("loaded").inc()
        return True

    async def watch(self, apply: Apply, look_s: float = LOOK_S) -> None:
        """Reload whenever asked, or when the file is another. Never returns."""
        while True:
            try:
                async with asyncio.timeout(look_s):
                    await self.asked.wait()
            except TimeoutError:
                seen = self._look()
                if seen is None or seen == self._seen:  # a file that is being replaced is gone for a moment
                    continue
            self.asked.clear()
            if self._path is not None:
                await self.reload(apply)
