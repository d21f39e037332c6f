"""The Docker engine: the machine's own, or one that is started for one run."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infra.local.errors import LocalStackError
from infra.local.places import Places
from infra.local.processes import Daemon, stop
from infra.local.settings import inherited
from infra.local.waiting import last_lines, until
from volcengine_client.clock import SystemClock

READY_MAX_MS = 30_000
ANSWER_MAX_S = 30


class DockerError(LocalStackError):
    """Docker refused; the message is its own."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine.

    Attributes:
        address: Its socket, as `DOCKER_HOST` has it; None: where the `docker` command looks by itself.
    """

    address: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it."""
        return {"DOCKER_HOST": self.address} if self.address else {}

    @property
    def command(self) -> str:
        """The path of the `docker` command.

        Raises:
            DockerError: It is not installed.
        """
        path = shutil.which("docker")
        if path is None:
            raise DockerError("the docker command is not installed")
        return path

    def ask(self, *arguments: str, within_s: int = ANSWER_MAX_S) -> str:
        """Run the `docker` command and return what it says.

        Raises:
            DockerError: It fails, or takes too long.
        """
        try:
            done = subprocess.run(
                [self.command, *arguments],
                env={**inherited(), **self.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DockerError(f"docker {arguments[0]} took more than {within_s} s") from None
        if done.returncode != 0:
            raise DockerError((done.stderr.strip() or f"docker {arguments[0]} failed").splitlines()[-1])
        return done.stdout.strip()

    def version(self) -> str | None:
        """Return the engine's version; None when none answers."""
        try:
            return self.ask("version", "--format", "{{.Server.Version}}") or None
        except DockerError:
            return None

    def has(self, image: str) -> bool:
        """Say whether it holds *image*."""
        return bool(self.ask("image", "ls", "--quiet", image))

    def gateway(self) -> str:
        """Return the address at which containers see this machine."""
        networks = json.loads(self.ask("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"))
        for network in networks:
            subnet = ipaddress.ip_network(network["Subnet"])
            if subnet.version == 4:
                return str(network.get("Gateway") or next(subnet.hosts()))
        raise DockerError("the engine has no bridge for containers")


@asynccontextmanager
async def own_engine(places: Places, *, has_containers: bool) -> AsyncIterator[Engine]:
    """Run an engine with images of its own in *places*; it is gone afterwards.

    Args:
        places: Where its images and its log are.
        has_containers: Whether it gets a bridge for containers; without, nothing of the machine's network changes.

    Raises:
        LocalStackError: It doesn't start; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="sam-docker-") as folder:  # a socket's path may not be long
        engine = Engine(f"unix://{folder}/docker.sock")
        command = ["dockerd", "--host", engine.address or "", "--data-root", str(places.directory / "docker")]
        command += ["--exec-root", f"{folder}/run", "--pidfile", f"{folder}/pid"]
        # Ports of containers are handed on by docker-proxy, so no rule of the firewall is needed.
        command += ["--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        command += [] if has_containers else ["--bridge=none"]
        daemon = Daemon.start("docker", command, environment=inherited(), log=places.log("docker"))

        async def is_settled() -> bool:
            return daemon.process is None or await asyncio.to_thread(engine.version) is not None

        try:
            await until(is_settled, what="dockerd answers", within_ms=READY_MAX_MS, clock=SystemClock())
            if daemon.process is None:
                raise LocalStackError(f"dockerd ended at once:\n{last_lines(places.log('docker'))}")
            yield engine
        finally:
            await asyncio.to_thread(stop, [daemon])
