"""More audio than an answer may hold, over real processes: what has no room is fetched by its address."""

from __future__ import annotations

import asyncio
import base64
import secrets

import aiohttp

from infra.local.simulator import Simulator
from tests.support.crowd import expected_audio
from tests.support.local_stack import Gateway

MEAN_MS = 50
TASKS, TEXT_BYTES_MAX = 8, 1_024
AUDIO_BYTES_MIN, ANSWER_BYTES_MAX = 20_000_000, 6_000_000  # Lambda's own limit
SENTENCE = "The quick brown fox jumps over the lazy dog, and back again. "


async def test_a_batch_with_twenty_megabytes_of_audio_is_answered_with_addresses_that_download(
    gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    run = secrets.token_hex(3)
    tasks = [
        {
            "task_id": f"chapter-{number}",
            "text": f"Chapter {number} of {run}. {SENTENCE * TEXT_BYTES_MAX}"[:TEXT_BYTES_MAX],
            "voice_type": "BV001_streaming",
            "encoding": "wav",
        }
        for number in range(TASKS, 0, -1)
    ]
    wanted = await asyncio.to_thread(lambda: [expected_audio(task) for task in tasks])
    await gateway.warm(1)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    answer = await gateway.speak(tasks)
    assert answer.status == 200, answer.text
    results = answer.json["results"]

    async def audio(result: dict[str, str]) -> bytes:
        if result["audio_base64"]:
            return base64.b64decode(result["audio_base64"])
        async with session.get(result["audio_url"]) as response:
            assert response.status == 200
            return await response.read()

    assert sum(map(len, wanted)) >= AUDIO_BYTES_MIN
    assert len(answer.text.encode()) < ANSWER_BYTES_MAX
    assert [result["task_id"] for result in results] == [task["task_id"] for task in tasks]
    assert [result["error"] for result in results] == [None] * TASKS
    assert sum(bool(result["audio_url"]) for result in results) >= TASKS // 2
    assert list(await asyncio.gather(*map(audio, results))) == wanted
    assert len((await simulator.record()).calls) == TASKS
