"""The deployed local stack as tests use it: beside the developer's own, with clients for each of its parts."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from infra.local import embedded_aws, processes, settings
from infra.local.lifecycle import Stack
from infra.local.places import LOOPBACK, ROOT, Places, port, read
from infra.local.simulator import Simulator
from infra.local.waiting import until
from volcengine_client.clock import Clock, SystemClock

KEPT = ROOT / ".local/tests"  # a deployment is kept from one run to the next
SESSIONS_MAX = 16  # test runs on this machine at the same time
COMMAND_MAX_S = 150
ANSWER_MAX_S = 60
WARM_MAX_MS = 60_000
IDLE_MAX_MS = 60_000  # the simulator ends a call after this at the latest

Json = Any


@dataclass(frozen=True)
class Answer:
    """What an HTTP request was answered with."""

    status: int
    headers: Mapping[str, str]
    text: str = field(repr=False)

    @property
    def json(self) -> Json:
        """The body."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Commands:
    """`make up` and `make down` on a directory of their own, with the simulated upstream and made-up accounts."""

    directory: Path
    stage: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def places(self) -> Places:
        """The stack's files."""
        return Places(self.directory)

    def up(self) -> Stack:
        """Bring up the stack, or leave it as it is."""
        self._command("up")
        return Stack(**read(self.places.stack_file))

    def down(self) -> None:
        """Stop the stack, if it is up."""
        self._command("down")

    def daemons(self) -> list[psutil.Process]:
        """Return the processes that `up` has started and that run."""
        daemons = map(processes.Daemon.parse, self.record()["daemons"])
        return [process for daemon in daemons if (process := daemon.process) is not None]

    def record(self) -> dict[str, Any]:
        """Return what `up` wrote down for `down`."""
        record: dict[str, Any] = read(self.places.processes_file) or {"daemons": [], "fingerprint": ""}
        return record

    def _command(self, name: str) -> None:
        command = [sys.executable, "-m", "infra.local.stack", name, "--directory", str(self.directory)]
        done = subprocess.run(
            [*command, "--env-file", os.devnull],
            cwd=ROOT,
            env={**settings.inherited(), **self.settings, "STAGE": self.stage},
            capture_output=True,
            text=True,
            timeout=COMMAND_MAX_S,
            check=False,
        )
        assert done.returncode == 0, f"{name} failed:\n{done.stdout}{done.stderr}"


@contextmanager
def stack_of_stage(stage: str, **settings_beside: str) -> Iterator[Stack]:
    """Keep a stack of *stage* up, where `receiver_port` is open to callbacks; other settings as for `make up`."""
    with directory_of_stage(stage) as directory:
        hosts = f"{LOOPBACK}:{receiver_port(directory)}"
        commands = Commands(directory, stage, {"VOLCENGINE_TTS_CALLBACK_TEST_HOSTS": hosts, **settings_beside})
        try:
            yield commands.up()
        finally:
            commands.down()


def receiver_port(directory: Path | str) -> int:
    """Return the port of this machine to which a stack's callbacks may go, the same one from run to run."""
    return port(Places(Path(directory)), "receiver", wanted=None, setting="")


@contextmanager
def directory_of_stage(stage: str) -> Iterator[Path]:
    """Claim a directory that no other test run uses; an earlier one may have left its deployment there."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for number in range(SESSIONS_MAX):
        with (KEPT / f"{stage}-{number}.claim").open("w", encoding="utf-8") as claim:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield KEPT / f"{stage}-{number}"
            return
    raise AssertionError(f"{SESSIONS_MAX} test runs hold the directories in {KEPT}")


@asynccontextmanager
async def rules_kept(simulator: Simulator, *, clock: Clock | None = None) -> AsyncIterator[Simulator]:
    """Give a test the idle simulator with an empty record, and put its rules back afterwards."""

    async def is_idle() -> bool:
        return not any(gauge["in_flight"] for gauge in (await simulator.record()).gauges)

    await until(is_idle, what="the simulator is idle", within_ms=IDLE_MAX_MS, clock=clock or SystemClock())
    rules = (await simulator.record()).report["rules"]
    await simulator.order(reset=True)
    try:
        yield simulator
    finally:
        await simulator.order(**rules, reset=True)


class Gateway:
    """The gateway's callers; one a test, since its connections belong to the test's event loop."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._session = session

    @property
    def admin(self) -> dict[str, str]:
        """The headers of someone who knows the admin key."""
        return {"Admin-API-Key": self._stack.admin_api_key}

    def url(self, path: str) -> str:
        """Return the address of *path*."""
        return self._stack.api_url.rstrip("/") + path

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **body: Any) -> Answer:
        """Send one request; *body* is `json=` or `data=`."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_MAX_S)
        async with self._session.request(method, self.url(path), headers=headers, timeout=timeout, **body) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """GET *path*."""
        return await self.ask("GET", path, headers=headers)

    async def speak(self, tasks: Sequence[Json], *, headers: Mapping[str, str] | None = None, **rest: Json) -> Answer:
        """Post a batch, with the admin key unless other headers are given; *rest* goes beside the tasks."""
        body = {"tasks": list(tasks), **rest}
        return await self.ask("POST", "/generate-batch", headers=self.admin if headers is None else headers, json=body)

    def functions(self) -> list[psutil.Process]:
        """Return the functions' processes, idle and busy ones."""
        return processes.functions(Path(self._stack.functions_directory))

    def speaking(self) -> list[psutil.Process]:
        """Return those that have a connection to the upstream; some may have ended meanwhile."""
        return [function for function in self.functions() if self._is_speaking(function)]

    def _is_speaking(self, function: psutil.Process) -> bool:
        port = urlsplit(self._stack.upstream_url).port
        with suppress(psutil.NoSuchProcess):
            return any(peer.raddr and peer.raddr.port == port for peer in function.net_connections("tcp"))
        return False

    async def warm(self, count: int, *, clock: Clock | None = None) -> None:
        """Return when at least *count* functions are warm: as many requests run at once without a cold start."""

        async def are_enough() -> bool:
            if len(self.functions()) >= count:
                return True
            await asyncio.gather(*(self.get("/") for _ in range(count)))
            return False

        await until(are_enough, what=f"{count} functions are warm", within_ms=WARM_MAX_MS, clock=clock or SystemClock())


class Aws:
    """Clients of the emulated AWS, and what a test wants to know of it at once."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def client(self, service: str) -> Any:
        """Return a boto3 client."""
        return embedded_aws.client(service, self._stack.aws_endpoint_url)

    def pools(self) -> list[dict[str, Any]]:
        """Return every item of the pools' table, as DynamoDB writes it."""
        items: list[dict[str, Any]] = self.client("dynamodb").scan(TableName=self._stack.pool_table)["Items"]
        return items

    def secret(self) -> dict[str, Any]:
        """Return what the server's secret holds."""
        value = self.client("secretsmanager").get_secret_value(SecretId=self._stack.secret_id)["SecretString"]
        secret: dict[str, Any] = json.loads(value)
        return secret

    @contextmanager
    def paused(self, queue_url: str) -> Iterator[None]:
        """Let nobody take a queue's messages but the test."""
        client = self.client("lambda")
        (mapping,) = (
            mapping
            for mapping in client.list_event_source_mappings()["EventSourceMappings"]
            if mapping["EventSourceArn"].endswith(f":{queue_url.rpartition('/')[2]}")
        )
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        try:
            yield
        finally:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    def logs(self) -> list[str]:
        """Return every line that the functions and the API logged."""
        client = self.client("logs")
        groups = client.describe_log_groups()["logGroups"]
        return [
            event["message"]
            for group in groups
            for stream in client.describe_log_streams(logGroupName=group["logGroupName"])["logStreams"]
            for event in client.get_log_events(
                logGroupName=group["logGroupName"], logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]
