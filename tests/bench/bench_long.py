"""Chapters of books as jobs on the deployed local stack in real time: 60,000 characters each, Chinese and English.

    make bench

Prints how busy the slots were, what was bought twice when every worker was ended in the middle, how the decoded files
compare with their segments, results and subtitles, and the workers' memory beside that of chapters a tenth as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from infra.local.simulator import Simulator
from infra.local.waiting import until
from tests.bench.bench_jobs import JOB_MAX_MS, LIMIT, MEAN_MS, MIB, Memory
from tests.support.crowd import Task
from tests.support.local_jobs import ended, results_of, submitted
from tests.support.local_stack import Gateway
from tests.support.long_jobs import Spoken, chapter_tasks, heard, segments_of
from volcengine_client.clock import SystemClock

CHARACTERS = 60_000


async def read_aloud(
    tasks: Sequence[Task], *, gateway: Gateway, simulator: Simulator, is_cut: bool = False
) -> tuple[Spoken, dict[str, Any], str, list[float]]:
    """Run a job; return what was spoken, the job, its address, and how busy the slots were before and after a cut."""
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(gateway, tasks)
    cut_at_ms = None
    if is_cut:
        half = sum(len(segments_of(task)) for task in tasks) // 2

        async def is_half_spoken() -> bool:
            return len((await simulator.record()).calls) >= half

        await until(is_half_spoken, what="half of it is spoken", within_ms=JOB_MAX_MS, clock=SystemClock())
        for function in gateway.speaking():
            function.kill()
        cut_at_ms = (await simulator.record()).report["now_ms"]
    job = await ended(gateway, address, within_ms=JOB_MAX_MS)
    spoken = Spoken.of(await simulator.record())
    busy = [spoken.busy(LIMIT, to_ms=cut_at_ms)]
    if cut_at_ms is not None:
        busy.append(spoken.busy(LIMIT, from_ms=cut_at_ms))
    assert (job["state"], job["done"]) == ("done", len(tasks))
    return spoken, job, address, busy


def tell(what: str, spoken: Spoken, job: dict[str, Any], tasks: Sequence[Task], busy: Sequence[float]) -> None:
    """Print what the upstream saw."""
    took_s = (job["ended_at_ms"] - job["started_at_ms"]) / 1_000
    print(  # noqa: T201
        f"\n{what}: {len(spoken.bought)} segments, {spoken.bought_twice(tasks)} bought twice, busy "
        f"{' and '.join(f'{share:.1%}' for share in busy)}, peak {spoken.peak}, refused {spoken.refused_count}, "
        f"{took_s:.0f} s"
    )


async def listen(session: aiohttp.ClientSession, gateway: Gateway, address: str, tasks: Sequence[Task]) -> None:
    """Decode what came of a job, and print how it compares with what was told."""
    for task, result in zip(tasks, await results_of(gateway, address), strict=True):
        chapter = await heard(session, task, result)
        print(  # noqa: T201
            f"  {task['task_id']} in {task['encoding']}: {chapter.byte_count / MIB:.0f} MiB of {chapter.segment_count} "
            f"segments, {chapter.decoded_ms / 1_000:.3f} s decoded, {chapter.told_ms / 1_000:.3f} s told, "
            f"{chapter.decoded_ms / chapter.parts_ms - 1:+.4%} beside its segments, subtitles off by "
            f"{chapter.off_ms} ms at most"
        )


@pytest.mark.timeout(0)
async def test_chapters(gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession) -> None:
    peaks_mib = {}
    for characters in (CHARACTERS // 10, CHARACTERS):
        tasks = chapter_tasks(characters, encodings=("mp3", "mp3"))
        memory = Memory(gateway)
        watching = asyncio.create_task(memory.watch())
        spoken, job, address, busy = await read_aloud(tasks, gateway=gateway, simulator=simulator)
        watching.cancel()
        peaks_mib[characters] = memory.peak_bytes / MIB
        tell(f"two chapters of {characters:,} characters", spoken, job, tasks, busy)
    print(  # noqa: T201
        f"  worker's memory: {peaks_mib[CHARACTERS // 10]:.0f} MiB, then {peaks_mib[CHARACTERS]:.0f} MiB: "
        f"{peaks_mib[CHARACTERS] / peaks_mib[CHARACTERS // 10]:.2f}"
    )
    await listen(session, gateway, address, tasks)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("encodings", [("mp3", "mp3"), ("wav", "ogg_opus")])
async def test_chapters_over_a_sudden_end_of_every_worker(
    encodings: tuple[str, str], gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    rate = 8_000 if "wav" in encodings else None  # at 24,000 Hz that chapter alone would have 700 MiB
    tasks = chapter_tasks(CHARACTERS, encodings=encodings, sample_rate=rate)
    spoken, job, address, busy = await read_aloud(tasks, gateway=gateway, simulator=simulator, is_cut=True)
    tell(f"two chapters of {CHARACTERS:,} characters over a sudden end", spoken, job, tasks, busy)
    await listen(session, gateway, address, tasks)
