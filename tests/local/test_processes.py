"""Processes are stopped by their ids, with their children, and never in place of others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.local.processes import Daemon, end_orphans, functions, stop
from infra.local.waiting import until
from volcengine_client.clock import SystemClock

WAITS = "import signal; signal.pause()"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {WAITS}"
HAS_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}])"

Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Daemon] = []

    def start_one(*command: str) -> Daemon:
        daemon = Daemon.start("daemon", [sys.executable, *command], environment={}, log=tmp_path / "daemon.log")
        started.append(daemon)
        return daemon

    yield start_one
    stop(started)


def test_a_stopped_daemon_is_gone_and_stopping_it_again_does_nothing(start: Start) -> None:
    daemon = start("-c", WAITS)
    assert daemon.process is not None

    stop([daemon])
    stop([daemon])

    assert daemon.process is None
    assert not psutil.pid_exists(daemon.pid)


def test_another_process_that_got_the_id_of_a_daemon_is_left_alone(start: Start) -> None:
    living = start("-c", WAITS)
    dead = replace(living, created_at_s=living.created_at_s - 60)

    stop([dead])

    assert dead.process is None
    assert living.process is not None


async def test_children_are_stopped_with_their_parent(start: Start) -> None:
    daemon = start("-c", HAS_A_CHILD)
    process = daemon.process
    assert process is not None

    async def has_a_child() -> bool:
        return bool(process.children())

    await until(has_a_child, what="the child runs", within_ms=10_000, clock=SystemClock())
    (child,) = process.children()

    stop([daemon])

    assert not child.is_running()


async def test_a_daemon_that_does_not_listen_is_killed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.processes.STOP_MAX_S", 0.2)
    daemon = start("-c", IGNORES_SIGTERM)

    async def ignores_it() -> bool:
        return "ready" in (tmp_path / "daemon.log").read_text(encoding="utf-8")

    await until(ignores_it, what="SIGTERM is ignored", within_ms=10_000, clock=SystemClock())

    stop([daemon])

    assert daemon.process is None


def test_orphaned_functions_are_found_by_their_folder_and_ended(start: Start, tmp_path: Path) -> None:
    ours, others = tmp_path / "ours/f/_worker.py", tmp_path / "others/f/_worker.py"
    for file in (ours, others):
        file.parent.mkdir(parents=True)
        file.write_text(WAITS, encoding="utf-8")
    orphan, stranger = start(str(ours)), start(str(others))
    assert [process.pid for process in functions(tmp_path / "ours")] == [orphan.pid]

    end_orphans(tmp_path / "ours")

    assert orphan.process is None
    assert stranger.process is not None


def test_a_daemon_is_known_again_from_its_record(start: Start) -> None:
    daemon = start("-c", WAITS)

    assert Daemon.parse(daemon.record) == daemon
