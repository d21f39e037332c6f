"""The processes that stay when a command has ended: started, recognised and stopped by their ids."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.local.places import ROOT

STOP_MAX_S = 15  # for ending in order; the emulated AWS writes down its state meanwhile
KILL_MAX_S = 5  # for vanishing after SIGKILL
CREATED_TOLERANCE_S = 2.0  # the system's idea of when it booted may move by this


@dataclass(frozen=True)
class Daemon:
    """A process, told from a later one with the same id by when it was created."""

    name: str
    pid: int
    created_at_s: float

    @classmethod
    def start(cls, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Daemon:
        """Start *command* in a session of its own, so that a Ctrl-C at the terminal doesn't reach it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.returncode = 0  # it outlives us by intent, which Popen would warn of; psutil waits for it
        return cls(name, process.pid, psutil.Process(process.pid).create_time())

    @classmethod
    def parse(cls, record: Any) -> Daemon:
        """Read what `record` made."""
        return cls(str(record["name"]), int(record["pid"]), float(record["created_at_s"]))

    @property
    def record(self) -> dict[str, Any]:
        """Return what can be written to a file."""
        return asdict(self)

    @property
    def process(self) -> psutil.Process | None:
        """Return the process if it still runs; None also when its id has gone to another one."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created_at_s) <= CREATED_TOLERANCE_S
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def stop(daemons: Iterable[Daemon]) -> None:
    """End *daemons* and all their descendants, politely first. Safe to repeat."""
    running = [process for daemon in daemons if (process := daemon.process) is not None]
    family = {relative.pid: relative for process in running for relative in (process, *_descendants(process))}
    for process in family.values():
        _signal(process, is_last_word=False)
    _, alive = psutil.wait_procs(family.values(), timeout=STOP_MAX_S)
    late = {relative.pid: relative for process in alive for relative in (process, *_descendants(process))}
    for process in late.values():
        _signal(process, is_last_word=True)
    psutil.wait_procs(late.values(), timeout=KILL_MAX_S)


def functions(scratch: Path) -> list[psutil.Process]:
    """Return the processes of the functions that an emulator with the temporary folder *scratch* has started."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(_is_function(argument, scratch) for argument in process.info["cmdline"] or ())
    ]


def end_orphans(scratch: Path) -> None:
    """End the functions that a killed emulator left behind; only when the emulator of *scratch* doesn't run."""
    left = functions(scratch)
    for process in left:
        _signal(process, is_last_word=True)
    psutil.wait_procs(left, timeout=KILL_MAX_S)


def _is_function(argument: str, scratch: Path) -> bool:
    return argument.startswith(f"{scratch}/") and argument.endswith("/_worker.py")


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, *, is_last_word: bool) -> None:
    try:
        (process.kill if is_last_word else process.terminate)()
    except psutil.NoSuchProcess:
        return
