"""The simulated upstream as a process of the local stack."""

from __future__ import annotations

import sys

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
