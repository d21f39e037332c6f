"""Chapters of books as a job, over real processes: one playable file each, every segment bought once."""

from __future__ import annotations

import asyncio

import aiohttp

from infra.local.simulator import Simulator
from infra.local.waiting import until
from tests.support.local_jobs import ended, results_of, submitted
from tests.support.local_stack import Gateway
from tests.support.long_jobs import Spoken, chapter_tasks, heard, segments_of
from volcengine_client.clock import SystemClock

CHARACTERS = 4_000
MEAN_MS = 300
LIMIT = 10


async def test_chapters_are_one_file_each_though_every_worker_dies(
    quick_gateway: Gateway, quick_simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    """I8, I4: what was in the air is bought again, and the subtitles are where the words are heard."""
    tasks = chapter_tasks(CHARACTERS, encodings=("wav", "mp3"), sample_rate=8_000)
    count = sum(len(segments_of(task)) for task in tasks)
    await quick_simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(quick_gateway, tasks)

    async def is_half_spoken() -> bool:
        return len((await quick_simulator.record()).calls) >= count // 2

    await until(is_half_spoken, what="half of it is spoken", within_ms=60_000, clock=SystemClock())
    for function in quick_gateway.speaking():
        function.kill()
    job = await ended(quick_gateway, address)
    results = await results_of(quick_gateway, address)
    spoken = Spoken.of(await quick_simulator.record())

    assert (job["state"], job["done"]) == ("done", 2)
    assert spoken.bought_twice(tasks) <= LIMIT
    assert (spoken.peak, spoken.refused_count) == (LIMIT, 0)
    for chapter in await asyncio.gather(
        *(heard(session, task, result) for task, result in zip(tasks, results, strict=True))
    ):
        chapter.assert_right()
