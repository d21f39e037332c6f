"""Waiting on conditions, never on time alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from infra.local.errors import LocalStackError
from infra.local.processes import Daemon
from volcengine_client.clock import Clock

LOOK_MS = 50  # between two looks at a condition
READY_MAX_MS = 30_000  # from a daemon's start to its first answer
LAST_LINES = 15  # of a log, shown when its writer failed
ANSWER_MAX_S = 30  # a cold function of the emulated AWS takes seconds


async def until(condition: Callable[[], Awaitable[bool]], *, what: str, within_ms: int, clock: Clock) -> None:
    """Return when *condition* holds.

    Raises:
        LocalStackError: It doesn't within *within_ms*; names *what*.
    """
    deadline_at_ms = clock.monotonic_ms() + within_ms
    while not await condition():
        if clock.monotonic_ms() >= deadline_at_ms:
            raise LocalStackError(f"{what}: not within {within_ms // 1_000} s")
        await clock.sleep(LOOK_MS)


async def answers(url: str) -> bool:
    """Say whether a GET of *url* answers 200 now."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_MAX_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def ready(daemon: Daemon, url: str, *, log: Path, clock: Clock) -> None:
    """Return when *daemon* answers at *url*.

    Raises:
        LocalStackError: It ended, or doesn't answer in time; with the end of its log.
    """

    async def is_settled() -> bool:
        return daemon.process is None or await answers(url)

    await until(is_settled, what=f"{daemon.name} answers (see {log})", within_ms=READY_MAX_MS, clock=clock)
    if daemon.process is None:
        raise LocalStackError(f"{daemon.name} ended at once:\n{last_lines(log)}")


def last_lines(log: Path) -> str:
    """Return the end of *log*, where the reason usually is."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
