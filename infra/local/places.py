"""Where the local stack keeps its files, and which ports it uses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.errors import LocalStackError

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 30_000)  # below those that Linux and macOS give to outgoing connections
PORT_TRIES_MAX = 100
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 1024**3  # of the whole file system; a function takes 50 MB


@dataclass(frozen=True)
class Places:
    """The files of one local stack; a second one has another directory."""

    directory: Path

    @property
    def stack_file(self) -> Path:
        """Addresses and key of the running stack, for those who use it."""
        return self.directory / "stack.json"

    @property
    def processes_file(self) -> Path:
        """What runs, for `down`."""
        return self.directory / "processes.json"

    @property
    def ports_file(self) -> Path:
        """The ports used last: a deployed function knows the simulator's."""
        return self.directory / "ports.json"

    @property
    def assembly(self) -> Path:
        """What the CDK app made."""
        return self.directory / "cdk.out"

    @property
    def scratch(self) -> Path:
        """Temporary files of the emulated AWS: each function's process has a thousand files here while it lives.

        In memory where that can be had: some disks take a minute to delete what a few dozen functions leave.
        """
        if not _is_roomy(MEMORY):
            return self.directory / "tmp"
        return MEMORY / f"volcengine-tts-{os.getuid()}-{hashlib.sha256(bytes(self.directory)).hexdigest()[:16]}"

    def log(self, name: str) -> Path:
        """Return where *name* writes what it has to say."""
        return self.directory / "log" / f"{name}.log"

    def emulated(self, stage: str) -> Path:
        """Return what the emulated AWS remembers of *stage* while it is stopped."""
        return self.directory / "aws" / stage


def _is_roomy(folder: Path) -> bool:
    """Say whether *folder* is a file system for many functions; the answer must not change while a stack is up."""
    try:
        system = os.statvfs(folder)
    except OSError:
        return False
    may_run_code = not system.f_flag & os.ST_NOEXEC
    return may_run_code and system.f_blocks * system.f_frsize >= MEMORY_BYTES_MIN and os.access(folder, os.W_OK)


def make_private(folder: Path) -> None:
    """Make *folder*, for this user only.

    Raises:
        LocalStackError: Somebody else has made it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LocalStackError(f"{folder} belongs to somebody else: remove it")
    folder.chmod(0o700)


@contextmanager
def held(places: Places) -> Iterator[None]:
    """Let only one command at a time work on a stack.

    Raises:
        LocalStackError: Another one does.
    """
    make_private(places.directory)  # the emulated AWS writes its secrets down for everyone
    with (places.directory / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            message = f"another `make up`, `make down` or `make run` is at work in {places.directory}; wait for it"
            raise LocalStackError(message) from exc
        yield


def write_private(path: Path, content: Any) -> None:
    """Write *content* as JSON, readable for its owner only, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    draft.replace(path)


def read(path: Path) -> Any:
    """Return what `write_private` wrote; None when there is nothing, or nothing whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def port(places: Places, name: str, *, wanted: int | None, setting: str) -> int:
    """Choose a port on the loopback interface for *name*: the wanted one, else the last one, else a free one.

    Raises:
        LocalStackError: The wanted one is busy.
    """
    if wanted is not None:
        if not _is_free(wanted):
            raise LocalStackError(f"port {wanted} ({setting}) is busy: free it, choose another, or leave {setting} out")
        chosen = wanted
    else:
        last: int = (read(places.ports_file) or {}).get(name, 0)
        chosen = last if last in PORTS and _is_free(last) else free_port()
    write_private(places.ports_file, {**(read(places.ports_file) or {}), name: chosen})
    return chosen


def _is_free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free port that no connection gets by itself: one of those may be gone again a moment later."""
    tries = random.sample(PORTS, PORT_TRIES_MAX)
    free = next((number for number in tries if _is_free(number)), None)
    if free is None:
        raise LocalStackError(f"found no free port from {PORTS.start} to {PORTS.stop - 1}")
    return free
