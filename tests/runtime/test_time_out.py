"""Lambda ends a function that takes too long, or that can't start: the next one works."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.emulated_function import LIMIT, RULES, EmulatedFunction, emulated_function
from tests.support.runtime_emulator import Layout

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A call begins only if it may take its usual time, 8 s at first, and the answer leaves a second before the end: so the
# batch has three seconds to begin.
TIME_OUT_S = 12


async def test_an_invocation_after_one_that_timed_out_in_mid_batch_gets_its_audio(
    tmp_path: Path, layout: Layout, aws_url: str
) -> None:
    rules = RULES.changed({"mean_ms": 1_000})
    async with emulated_function(
        tmp_path, layout=layout, aws_url=aws_url, rules=rules, time_out_s=TIME_OUT_S
    ) as function:
        await function.invoke("health")

        ended = await frozen_in_mid_batch(function)

        assert ended == f"Task timed out after {TIME_OUT_S}.00 seconds"
        answer = await function.invoke("generate_batch")
        assert answer.status == 200
        assert all(result["error"] is None for result in answer.body["results"])
        pool = await function.invoke("pool")
        assert pool.body["slots_in_use"] == 2, "the upstream may still count the calls of the one that was killed"
        assert len(function.emulator.init_ms) == 2
        assert function.gauge.peak <= LIMIT
        assert not function.gauge.refusals


async def frozen_in_mid_batch(function: EmulatedFunction) -> str:
    """Let a batch begin, stop the process while both calls are under way, and return how the invocation ended."""
    invocation = asyncio.create_task(function.invoke("generate_batch"))
    under_way = asyncio.create_task(function.upstream.until(lambda: function.gauge.in_flight == 2))
    await asyncio.wait({invocation, under_way}, return_when=asyncio.FIRST_COMPLETED)
    assert not invocation.done(), invocation.result().text
    function.emulator.function.send_signal(signal.SIGSTOP)
    return (await invocation).text


async def test_a_function_without_a_setting_does_not_start_and_says_which(
    tmp_path: Path, layout: Layout, aws_url: str
) -> None:
    async with emulated_function(tmp_path, layout=layout, aws_url=aws_url, VOLCENGINE_TTS_POOL_TABLE="") as function:
        failed = await function.invoke("health")

    assert failed.said["errorType"] == "SettingsError"
    assert failed.said["errorMessage"] == "VOLCENGINE_TTS_POOL_TABLE is not set"
