"""A DynamoDB on loopback that is right when two write at once: ministack in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from infra.local.places import free_port

START_MAX_ATTEMPTS = 300
STOP_MAX_S = 10


@contextmanager
def emulated_dynamodb(scratch: Path) -> Iterator[str]:
    """Run an emulator for as long as the context lasts, and yield its address."""
    port = free_port()
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SFTP_ENABLED": "0",  # it would listen on every interface
        "IOT_MTLS_ENABLED": "0",  # the same
    }
    with (scratch / "ministack.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_health(f"http://127.0.0.1:{port}/_ministack/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(START_MAX_ATTEMPTS):
        try:
            with urlopen(url, timeout=1) as answer:  # noqa: S310 - it is our own loopback address
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError("the emulator ended while it started")
    raise AssertionError("the emulator did not become ready")
