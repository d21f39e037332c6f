"""Many callers at once, through every door, and what the upstream saw of them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp

from infra.local import embedded_aws
from infra.local.lifecycle import Stack
from infra.local.simulator import Record
from infra.local.upstream import Wishes, audio_of, slot_ms_between
from tests.support.local_stack import Aws, Gateway
from volcengine_client.limits import PoolTimes

Task = dict[str, Any]
Results = list[dict[str, Any]]
Door = Callable[[Sequence[Task]], Awaitable[Results]]

VOICES = ("BV001_streaming", "BV002_streaming", "en_male_jason_conversation_wvae_bigtts")
LINE_BYTES_MAX = 64 * 1024 * 1024


def batch(caller: int, task_count: int, *, is_repeating_ids: bool = False) -> list[Task]:
    """Return one caller's tasks: every text is spoken once in the world, ids come unsorted or all the same."""
    run = secrets.token_hex(3)
    return [
        {
            "task_id": "same" if is_repeating_ids else f"t{(number * 7) % task_count}",
            "text": f"Caller {caller}, {number}, {run}.",
            "voice_type": VOICES[number % 2],
        }
        for number in range(task_count)
    ]


def assert_right(tasks: Sequence[Task], results: Results) -> None:
    """Every result is the audio of its own task, in input order (I3, I4)."""
    assert [result["task_id"] for result in results] == [task["task_id"] for task in tasks]
    assert [result["error"] for result in results] == [None] * len(tasks)
    for task, result in zip(tasks, results, strict=True):
        assert base64.b64decode(result["audio_base64"]) == expected_audio(task), "the audio of another task"


def assert_honest(tasks: Sequence[Task], results: Results) -> int:
    """Every result is right audio, an error that may be retried, or pending; returns how many are audio."""
    for task, result in zip(tasks, results, strict=True):
        if result.get("pending"):
            assert not result["audio_base64"]
        elif result["error"] is None:
            assert base64.b64decode(result["audio_base64"]) == expected_audio(task)
        else:
            assert result["audio_base64"] == ""
            assert result["error"]["retryable"]
    return sum(bool(result["audio_base64"]) for result in results)


def expected_audio(task: Task) -> bytes:
    """Return the bytes that the simulated upstream gives for a task."""
    return audio_of(Wishes(task["text"], task["voice_type"], task.get("encoding", "mp3"))).file


@dataclass(frozen=True)
class Seen:
    """What the upstream saw of one account.

    Attributes:
        gauge: Its own record of the account's calls.
        calls: One by one, in the order in which they began.
        limit: What the account allows.
    """

    gauge: dict[str, Any] = field(repr=False)
    calls: list[dict[str, Any]] = field(repr=False)
    limit: int

    @classmethod
    def of(cls, record: Record, app_id: str) -> Seen:
        """Return what *record* says of an account whose voices all belong to one product."""
        (gauge,) = record.report["accounts"][app_id].values()
        calls = sorted(
            (call for call in record.calls if call["app_id"] == app_id), key=lambda call: call["began_at_ms"]
        )
        return cls(gauge, calls, gauge["limit"])

    def assert_kept(self, texts: Sequence[str]) -> None:
        """Never over the limit, all of it used, every text bought once, none refused (I1, I8)."""
        assert self.gauge["refusals"] == {}
        assert self.gauge["peak"] == self.limit
        assert {text: counts["bought"] for text, counts in self.gauge["texts"].items()} == dict.fromkeys(texts, 1)

    def busy(self) -> float:
        """Return the share of slot time that was used, from the first call until work runs short."""
        first_ms = self.calls[0]["began_at_ms"]
        short_ms = self.calls[-self.limit]["began_at_ms"]
        used_ms = slot_ms_between(self.gauge["steps"], first_ms, short_ms)
        share: float = used_ms / (self.limit * (short_ms - first_ms))
        return share

    def first_wait_ms(self, tasks: Sequence[Task], *, since_ms: int) -> int:
        """Return how long a caller's first call came after *since_ms* of the upstream's clock."""
        texts = {task["text"] for task in tasks}
        began_ms: int = min(call["began_at_ms"] for call in self.calls if call["text"] in texts)
        return began_ms - since_ms


# --- doors -----------------------------------------------------------------------


def through_gateway(gateway: Gateway, **rest: Any) -> Door:
    """Speak through the deployed stack; *rest* goes beside the tasks."""

    async def speak(tasks: Sequence[Task]) -> Results:
        answer = await gateway.speak(tasks, **rest)
        assert answer.status == 200, answer.text
        results: Results = answer.json["results"]
        return results

    return speak


def through_server(url: str, session: aiohttp.ClientSession) -> Door:
    """Speak through a self-hosted server without an admin key."""

    async def speak(tasks: Sequence[Task]) -> Results:
        async with session.post(f"{url}/generate-batch", json={"tasks": list(tasks)}) as response:
            assert response.status == 200, await response.text()
            results: Results = (await response.json())["results"]
            return results

    return speak


@asynccontextmanager
async def server(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Run `volcengine-tts-server` on a free port; yields its address, and stops it gracefully."""
    folder = await asyncio.to_thread(mkdtemp)
    process = await asyncio.create_subprocess_exec(
        *[str(Path(sys.executable).with_name("volcengine-tts-server")), "--port", "0"],
        env={**_bare(), "VOLCENGINE_TTS_ALLOW_ANONYMOUS": "true", "VOLCENGINE_TTS_DATA": folder, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while "Listening on " not in (line := (await process.stderr.readline()).decode()):
            assert line, "the server ended at once"
        drain = asyncio.create_task(process.stderr.read())
        yield line.split("Listening on ")[1].strip()
        process.terminate()
        await drain
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, folder)


class ClientProcess:
    """A client of the library in a process of its own, ready to speak one batch in the stack's pool."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, stack: Stack, tasks: Sequence[Task], *, times: PoolTimes, timeout_ms: int | None = None, **client: Any
    ) -> ClientProcess:
        """Start it, and return when it is ready; *client* are further arguments of the library's constructor."""
        secret = Aws(stack).secret()
        login = {"app_id": secret["volcengine_tts_appid"], "access_key": secret["volcengine_tts_access_key"]}
        orders = {
            "client": {**login, "endpoint": stack.upstream_url, **client},
            "pool": {"table": stack.pool_table, "region": stack.region, "endpoint_url": stack.aws_endpoint_url},
            "times": asdict(times),
            "tasks": list(tasks),
            "timeout_ms": timeout_ms,
        }
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "tests.support.client_process"],
            env={**_bare(), **embedded_aws.CREDENTIALS},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        started = cls(process)
        await started._tell(json.dumps(orders))
        assert await started._hear() == "ready"
        return started

    async def speak(self) -> Results:
        """Let it speak, and return its results."""
        await self._tell("go")
        results: Results = json.loads(await self._hear())
        return results

    async def go(self) -> None:
        """Let it speak, and don't wait."""
        await self._tell("go")

    async def results(self) -> Results:
        """Return its results, once they are there."""
        results: Results = json.loads(await self._hear())
        return results

    async def end(self) -> None:
        """End it, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def _hear(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()


@asynccontextmanager
async def client_processes(
    stack: Stack, batches: Sequence[Sequence[Task]], *, times: PoolTimes
) -> AsyncIterator[list[ClientProcess]]:
    """Start one process a batch, all ready; end them at the end."""
    clients = await asyncio.gather(*(ClientProcess.start(stack, tasks, times=times) for tasks in batches))
    try:
        yield clients
    finally:
        await asyncio.gather(*(client.end() for client in clients))


def _bare() -> dict[str, str]:
    """Return an environment in which no setting of the developer's stands."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
