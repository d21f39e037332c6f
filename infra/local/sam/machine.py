"""What has to be done on the machine itself: commands, packages, a network of one's own."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.errors import LocalStackError
from infra.local.places import Places
from infra.local.settings import inherited
from infra.local.waiting import last_lines

INSTALL_MAX_S = 900
PACKAGES = ("docker.io", "debootstrap")
# Processes, mounts and interfaces of a command started so are seen by nobody else, and gone with it.
OWN_NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # of a network interface, by Linux's numbers


def assure_may_start() -> None:
    """Refuse to start an engine where that can't work.

    Raises:
        LocalStackError: Says why, and what to do instead.
    """
    if sys.platform != "linux":
        raise LocalStackError(
            "START_DOCKER=1 starts Debian's Docker engine, on Linux only: start Docker Desktop instead"
        )
    if os.geteuid() != 0:
        raise LocalStackError("START_DOCKER=1 needs root: start the Docker engine yourself, then `make sam`")


def install(places: Places) -> None:
    """Install what is missing of the engine and of what builds a base image, from Debian's packages.

    Raises:
        LocalStackError: It can't be installed.
    """
    if all(map(shutil.which, ("dockerd", "docker", "debootstrap"))):
        return
    if not shutil.which("apt-get"):
        raise LocalStackError(
            "START_DOCKER=1 installs Debian's docker.io, and here is no apt-get: install Docker yourself"
        )
    run(["apt-get", "update"], places, within_s=INSTALL_MAX_S)
    install_command = ["apt-get", "install", "--yes", "--no-install-recommends"]
    run([*install_command, *PACKAGES], places, within_s=INSTALL_MAX_S)
    if not shutil.which("docker"):  # newer Debians have it apart
        run([*install_command, "docker-cli"], places, within_s=INSTALL_MAX_S)


def raise_loopback() -> None:
    """Switch on the loopback interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


def run(command: Sequence[str], places: Places, *, within_s: int, folder: Path | None = None) -> None:
    """Run *command*; what it says goes to a log that is shown only when it fails.

    Raises:
        LocalStackError: It fails, or takes too long.
    """
    name = Path(command[0]).name
    log = places.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**inherited(), "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LocalStackError(f"{name} took more than {within_s} s (see {log})") from None
    if done.returncode != 0:
        raise LocalStackError(f"{name} failed (see {log}):\n{last_lines(log)}")
