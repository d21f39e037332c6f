"""The command line, inside a test and as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from volcengine_client.cli.app import app
from volcengine_client.manifest import MANIFEST

UNSET = {
    "VOLCENGINE_TTS_APPID": "",
    "VOLCENGINE_TTS_ACCESS_KEY": "",
    "VOLCENGINE_TTS_CONCURRENCY": "",
    "VOLCENGINE_TTS_ENDPOINT": "",
    "VOLCENGINE_TTS_GATEWAY": "",
    "ADMIN_API_KEY": "",
    "COLUMNS": "160",
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Piped:
    """How a command ended that wrote bytes."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True)
class CommandLine:
    """`volcengine-tts` in an environment."""

    environment: Mapping[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *arguments: object) -> Ended:
        """Run a command in this process."""
        ended = CliRunner().invoke(app, [str(one) for one in arguments], env={**UNSET, **self.environment})
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    def start(self, *arguments: object, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command in a process of its own, which hears Ctrl-C even where this one was told not to.

        Its output goes into a pipe, or to the descriptor *out*.
        """
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # it would be inherited, as by a job in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "volcengine_client.cli", *(str(one) for one in arguments)],
            env={**os.environ, **UNSET, **self.environment},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def pipe(self, *arguments: object, given: bytes = b"") -> Piped:
        """Run a command in a process of its own, which reads bytes and writes bytes."""
        ended = subprocess.run(
            [sys.executable, "-m", "volcengine_client.cli", *(str(one) for one in arguments)],
            env={**os.environ, **UNSET, **self.environment},
            input=given,
            capture_output=True,
            timeout=15,
            check=False,
        )
        return Piped(ended.returncode, ended.stdout, ended.stderr.decode())

    def end(self) -> None:
        """End what was started and still runs, after a test that failed."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def write_tasks(path: Path, tasks: Sequence[Mapping[str, Any]]) -> Path:
    """Write a list of tasks as JSON Lines."""
    path.write_text("".join(f"{json.dumps(task, ensure_ascii=False)}\n" for task in tasks), "utf-8")
    return path


def manifest_in(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a folder's manifest."""
    return [json.loads(line) for line in (folder / MANIFEST).read_text("utf-8").splitlines()]


def audio_in(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder but the hidden ones and the manifest."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != MANIFEST and not path.name.startswith(".")
    }
