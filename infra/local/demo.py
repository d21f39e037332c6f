"""The main job, shown: three applications post their batches at the same moment and share one account."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from infra.local.errors import LocalStackError
from infra.local.lifecycle import Stack
from infra.local.sample import SAMPLE
from infra.local.simulator import Record, Simulator
from volcengine_client.clock import Clock
from volcengine_client.models import BatchResponse, TaskItem

ANSWER_MAX_S = 60  # API Gateway gives up after 30


@dataclass(frozen=True)
class Batch:
    """What one application sent, and what it got."""

    app: str
    tasks: list[TaskItem]
    response: BatchResponse


async def speak_sample(stack: Stack, *, out: Path, console: Console, clock: Clock) -> bool:
    """Speak the sample into *out*, print what became of each task, and say whether all were spoken.

    Raises:
        LocalStackError: The gateway refused a whole batch.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_MAX_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(_wake(session, stack) for _ in SAMPLE))
        simulator = Simulator(stack.upstream_url, session) if stack.is_upstream_simulated else None
        if simulator is not None:
            await simulator.order(reset=True)
        began_at_ms = clock.monotonic_ms()
        batches = await asyncio.gather(*(_post(session, stack, app) for app in SAMPLE))
        took_ms = clock.monotonic_ms() - began_at_ms
        record = None if simulator is None else await simulator.record()
    files = await asyncio.to_thread(_save, batches, out)
    console.print(_table(batches, record))
    for line in _summary(batches, record, files=files, took_ms=took_ms, out=out):
        console.print(line, markup=False)
    return all(result.error is None for batch in batches for result in batch.response.results)


async def _wake(session: aiohttp.ClientSession, stack: Stack) -> None:
    """Start one function for each batch, so that the figures aren't about starting them."""
    async with session.get(stack.api_url) as response:
        await response.read()


async def _post(session: aiohttp.ClientSession, stack: Stack, app: str) -> Batch:
    tasks = [TaskItem(name, text, voice, f"{name}.mp3") for name, voice, text in SAMPLE[app]]
    wire = [{"task_id": task.task_id, "text": task.text, "voice_type": task.voice_type} for task in tasks]
    async with session.post(
        f"{stack.api_url}generate-batch",
        json={"app": app, "tasks": wire},
        headers={"Admin-API-Key": stack.admin_api_key},
    ) as response:
        body = await response.text()
        if response.status != 200:
            raise LocalStackError(f"the gateway answered {response.status} to the batch of {app}: {body[:1_000]}")
    return Batch(app, tasks, BatchResponse.model_validate_json(body))


def _save(batches: list[Batch], out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    files = 0
    for batch in batches:
        for task, result in zip(batch.tasks, batch.response.results, strict=True):
            if result.error is None:
                assert task.output_filename is not None
                (out / task.output_filename).write_bytes(result.audio)
                files += 1
    return files


def _table(batches: list[Batch], record: Record | None) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("app", "task", "voice"):
        table.add_column(name, no_wrap=True)
    for name in ("audio s", "waited s", "spoken s"):
        table.add_column(name, justify="right")
    table.add_column("error", overflow="fold")
    for batch in batches:
        for task, result in zip(batch.tasks, batch.response.results, strict=True):
            waited_ms, spoken_ms = _times(batch, task, record)
            table.add_row(
                batch.app,
                task.task_id,
                task.voice_type.removesuffix("_streaming"),
                _seconds(result.duration_ms),
                _seconds(waited_ms),
                _seconds(spoken_ms),
                "" if result.error is None else f"{result.error.code}: {result.error.message}",
            )
        table.add_section()
    return table


def _times(batch: Batch, task: TaskItem, record: Record | None) -> tuple[int | None, int | None]:
    """Return how long a task waited and was spoken, as the simulator saw it; else only what its batch waited."""
    if record is None:
        return batch.response.pool.waited_ms, None
    return record.waited_ms(task.text), record.spoken_ms(task.text)


def _summary(batches: list[Batch], record: Record | None, *, files: int, took_ms: int, out: Path) -> list[str]:
    results = [result for batch in batches for result in batch.response.results]
    audio_ms = sum(result.duration_ms or 0 for result in results)
    limit = max(batch.response.pool.limit for batch in batches)
    lines = [
        f"{files} of {len(results)} texts spoken in {_seconds(took_ms)} s: {_seconds(audio_ms)} s of audio in {out}/"
    ]
    if record is None:
        return [*lines, f"The limit is {limit} calls at once; what a batch waited is the time until its first call."]
    return [
        *lines,
        f"The limit is {limit} calls at once; the upstream saw {record.peak}, and refused {record.refused}.",
    ]


def _seconds(duration_ms: int | None) -> str:
    return "-" if duration_ms is None else f"{duration_ms / 1_000:.1f}"
