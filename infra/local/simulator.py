"""The simulated upstream as a process of the local stack, and what it tells of itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import aiohttp

from infra.local.places import LOOPBACK, Places
from infra.local.processes import Daemon
from infra.local.settings import Settings, inherited


def launch(places: Places, wanted: Settings, *, port: int) -> Daemon:
    """Start it with the limit of the account; it answers a little later."""
    command = [sys.executable, "-m", "infra.local.upstream", "--port", str(port), "--limit", str(wanted.concurrency)]
    return Daemon.start("upstream", command, environment=inherited(), log=places.log("upstream"))


def url(port: int) -> str:
    """Return the base address of the upstream."""
    return f"http://{LOOPBACK}:{port}"


def report_url(upstream_url: str) -> str:
    """Return where it tells what it saw."""
    return f"{upstream_url}/_simulator"


@dataclass(frozen=True)
class Record:
    """What the simulator saw since it was last told to forget.

    Attributes:
        report: The answer of `GET /_simulator`.
        calls: The answer of `GET /_simulator/calls`.
    """

    report: dict[str, Any]
    calls: list[dict[str, Any]]

    @property
    def gauges(self) -> list[dict[str, Any]]:
        """What each account did with each product."""
        return [gauge for account in self.report["accounts"].values() for gauge in account.values()]

    @property
    def peak(self) -> int:
        """The most calls that any account had in progress at once."""
        return max((gauge["peak"] for gauge in self.gauges), default=0)

    @property
    def refused(self) -> int:
        """How many calls were refused, for whatever reason."""
        counts: list[dict[str, int]] = [self.report["strangers"], *(gauge["refusals"] for gauge in self.gauges)]
        return sum(sum(count.values()) for count in counts)

    def calls_of(self, text: str) -> list[dict[str, Any]]:
        """Return the calls with *text*, the first one first."""
        return [call for call in self.calls if call["text"] == text]

    def waited_ms(self, text: str) -> int | None:
        """Return how long after the record's beginning *text* was first called for; None when it never was."""
        waits_ms: list[int] = [call["began_at_ms"] - self.report["since_ms"] for call in self.calls_of(text)]
        return waits_ms[0] if waits_ms else None

    def spoken_ms(self, text: str) -> int | None:
        """Return how long the last call with *text* took; None when there is none that ended."""
        spans_ms: list[int] = [
            call["ended_at_ms"] - call["began_at_ms"] for call in self.calls_of(text) if call["ended_at_ms"] is not None
        ]
        return spans_ms[-1] if spans_ms else None


class Simulator:
    """A client of the simulator's own routes."""

    def __init__(self, upstream_url: str, session: aiohttp.ClientSession) -> None:
        self._url = report_url(upstream_url)
        self._session = session

    async def record(self) -> Record:
        """Return what it saw."""
        return Record(await self._get(self._url), await self._get(f"{self._url}/calls"))

    async def order(self, **orders: Any) -> None:
        """Change its rules, order faults, or let it forget (`reset=True`): see `infra/local/upstream/orders.py`."""
        async with self._session.post(self._url, json=orders) as response:
            assert response.status == 200, await response.text()

    async def _get(self, address: str) -> Any:
        async with self._session.get(address) as response:
            assert response.status == 200, await response.text()
            return await response.json()
