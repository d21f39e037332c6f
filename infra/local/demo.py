"""The main job, shown: three applications post their batches at the same moment and share one account."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from infra.local import simulator
from infra.local.errors import LocalStackError
from infra.local.lifecycle import Stack
from infra.local.sample import SAMPLE
from volcengine_client.clock import Clock
from volcengine_client.models import BatchResponse, TaskItem

ANSWER_MAX_S = 60


@dataclass(frozen=True)
class Batch:
    """What one application sent, and what it got after how long."""

    app: str
    tasks: list[TaskItem]
    response: BatchResponse
    answered_ms: int


async def speak_sample(stack: Stack, *, out: Path, console: Console, clock: Clock) -> bool:
    """Speak the sample into *out*, print what became of each task, and say whether all were spoken.

    Raises:
        LocalStackError: The gateway refused a whole batch.
    """
    began_at_ms = clock.monotonic_ms()
    timeout = aiohttp.ClientTimeout(total=ANSWER_MAX_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        posts = [_post(session, stack, app, clock=clock) for app in SAMPLE]
        batches = await asyncio.gather(*posts)
        took_ms = clock.monotonic_ms() - began_at_ms
        seen = await _seen(session, stack)
    files = await asyncio.to_thread(_save, batches, out)
    console.print(_table(batches))
    for line in _summary(batches, files=files, took_ms=took_ms, out=out, seen=seen):
        console.print(line, markup=False)
    return all(result.error is None for batch in batches for result in batch.response.results)


async def _post(session: aiohttp.ClientSession, stack: Stack, app: str, *, clock: Clock) -> Batch:
    tasks = [TaskItem(name, text, voice, f"{name}.mp3") for name, voice, text in SAMPLE[app]]
    wire = [{"task_id": task.task_id, "text": task.text, "voice_type": task.voice_type} for task in tasks]
    began_at_ms = clock.monotonic_ms()
    async with session.post(
        f"{stack.api_url}generate-batch",
        json={"app": app, "tasks": wire},
        headers={"Admin-API-Key": stack.admin_api_key},
    ) as response:
        body = await response.text()
        if response.status != 200:
            raise LocalStackError(f"the gateway answered {response.status} to the batch of {app}: {body[:1_000]}")
    return Batch(app, tasks, BatchResponse.model_validate_json(body), clock.monotonic_ms() - began_at_ms)


async def _seen(session: aiohttp.ClientSession, stack: Stack) -> dict[str, Any] | None:
    """Return what the upstream saw; None when it is not the simulator, and so doesn't tell."""
    if not stack.is_upstream_simulated:
        return None
    async with session.get(simulator.report_url(stack.upstream_url)) as response:
        report: dict[str, Any] = await response.json()
    return report


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


def _table(batches: list[Batch]) -> Table:
    table = Table(title="Three applications, one account")
    for name, justify in (("app", "left"), ("task", "left"), ("voice", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name in ("audio s", "waited s", "spoken"):
        table.add_column(name, justify="right")
    table.add_column("error")
    for batch in batches:
        waited_ms = batch.response.pool.waited_ms
        for task, result in zip(batch.tasks, batch.response.results, strict=True):
            table.add_row(
                batch.app,
                task.task_id,
                task.voice_type.removesuffix("_streaming"),
                _seconds(result.duration_ms),
                _seconds(waited_ms),
                f"{result.characters} characters" if result.error is None else "no",
                "" if result.error is None else f"{result.error.code}: {result.error.message}",
            )
        table.add_section()
    return table


def _summary(batches: list[Batch], *, files: int, took_ms: int, out: Path, seen: dict[str, Any] | None) -> list[str]:
    results = [result for batch in batches for result in batch.response.results]
    audio_ms = sum(result.duration_ms or 0 for result in results)
    lines = [
        f"{files} of {len(results)} texts spoken: {_seconds(audio_ms)} s of audio in {_seconds(took_ms)} s, in {out}/",
        f"The pool's limit is {max(batch.response.pool.limit for batch in batches)} calls at once.",
        "What each batch waited is the time until its first call could start.",
    ]
    if seen is not None:
        lines.append(f"The upstream saw at most {seen['peak']} calls at once and refused {seen['refused']}.")
    return lines


def _seconds(duration_ms: int | None) -> str:
    return "-" if duration_ms is None else f"{duration_ms / 1_000:.1f}"
