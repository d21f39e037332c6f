"""Throttled S3, DynamoDB and SQS, over real processes: slower, and nothing else."""

from __future__ import annotations

import asyncio

import aiohttp

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.support.crowd import Seen, assert_right, batch
from tests.support.local_jobs import assert_job_right, ended, results_of, submitted
from tests.support.local_stack import Aws, Gateway
from tests.support.throttled_aws import Fate, throttled_aws

MEAN_MS = 100
JOB_TASKS, CALLERS, TASKS = 60, 2, 12
THROTTLED = 6  # of twenty requests to each service: 30 %


async def test_nothing_is_lost_or_bought_twice_while_aws_refuses_every_third_request(
    stack: Stack, gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    """I1, I3, I4, I8."""
    job_tasks = batch(0, JOB_TASKS, is_repeating_ids=True)
    batches = [batch(caller, TASKS) for caller in range(1, 1 + CALLERS)]
    async with throttled_aws(stack, seed="1", throttled=THROTTLED) as way:
        await simulator.order(mean_ms=MEAN_MS, reset=True)
        address = await submitted(gateway, job_tasks)
        answers = await asyncio.gather(*map(gateway.speak, batches))
        job = await ended(gateway, address)
        seen = Seen.of(await simulator.record(), Aws(stack).secret()["volcengine_tts_appid"])
        await assert_job_right(session, job_tasks, await results_of(gateway, address))
    print(f"\n{way.told()}")  # noqa: T201 - pytest shows it when the test fails

    assert [answer.status for answer in answers] == [200] * CALLERS
    for tasks, answer in zip(batches, answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, answer.json["results"])
    assert (job["state"], job["done"], job["failed"]) == ("done", JOB_TASKS, 0)
    texts = [task["text"] for tasks in (job_tasks, *batches) for task in tasks]
    assert {text: counts["bought"] for text, counts in seen.gauge["texts"].items()} == dict.fromkeys(texts, 1)
    assert seen.gauge["peak"] <= seen.limit
    assert seen.gauge["refusals"] == {}
    assert all(way.befell["s3", fate] and way.befell["dynamodb", fate] for fate in Fate), way.told()
    assert way.befell["sqs", Fate.PASSED]
