"""Dead letters of the deployed local stack, moved back by the operator's command."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import embedded_aws, settings
from infra.local.lifecycle import Stack
from infra.local.places import ROOT
from infra.local.simulator import Simulator
from infra.local.waiting import until
from tests.support.crowd import Seen, batch
from tests.support.local_jobs import ended, submitted
from tests.support.local_stack import Aws, Gateway
from volcengine_client.clock import SystemClock

CLOCK = SystemClock()
LIMIT = 10


@pytest.fixture
def mortal_messages(quick_stack: Stack) -> Iterator[Any]:
    """A client of SQS, for a queue whose messages die at once when their worker does."""
    client = Aws(quick_stack).client("sqs")
    asked = {"QueueUrl": quick_stack.job_queue, "AttributeNames": ["RedrivePolicy", "VisibilityTimeout"]}
    before = client.get_queue_attributes(**asked)["Attributes"]
    policy = json.dumps({**json.loads(before["RedrivePolicy"]), "maxReceiveCount": 1})
    soon = {"RedrivePolicy": policy, "VisibilityTimeout": "3"}
    client.set_queue_attributes(QueueUrl=quick_stack.job_queue, Attributes=soon)
    yield client
    client.set_queue_attributes(QueueUrl=quick_stack.job_queue, Attributes=before)
    client.purge_queue(QueueUrl=quick_stack.dead_letter_queue)


def redrive(stack: Stack) -> str:
    """Run the operator's command; return what it said."""
    environment = {**settings.inherited(), **embedded_aws.CREDENTIALS, "AWS_ENDPOINT_URL": stack.aws_endpoint_url}
    done = subprocess.run(
        [sys.executable, "-m", "infra.redrive", "--stage", stack.stage],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_job_whose_message_died_goes_on_when_it_is_moved_back(
    quick_stack: Stack, quick_gateway: Gateway, quick_simulator: Simulator, mortal_messages: Any
) -> None:
    """Its worker is killed, the message is a dead letter, and beside it lies one that never made sense."""
    tasks = batch(1, 60)
    await quick_simulator.order(mean_ms=400, reset=True)
    address = await submitted(quick_gateway, tasks)

    async def is_under_way() -> bool:
        return len((await quick_simulator.record()).calls) >= 2 * LIMIT

    await until(is_under_way, what="the job is under way", within_ms=60_000, clock=CLOCK)
    for function in quick_gateway.speaking():
        function.kill()
    mortal_messages.send_message(QueueUrl=quick_stack.dead_letter_queue, MessageBody="no job's id")

    async def are_dead() -> bool:
        told = mortal_messages.get_queue_attributes(
            QueueUrl=quick_stack.dead_letter_queue, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(told["Attributes"]["ApproximateNumberOfMessages"]) == 2

    await until(are_dead, what="the job's message is a dead letter", within_ms=30_000, clock=CLOCK)
    said = await asyncio.to_thread(redrive, quick_stack)
    job = await ended(quick_gateway, address)
    seen = Seen.of(await quick_simulator.record(), Aws(quick_stack).secret()["volcengine_tts_appid"])
    bought = sum(counts["bought"] for counts in seen.gauge["texts"].values())

    assert said == "2 moved, 0 left\n"
    assert (job["state"], job["done"], job["failed"]) == ("done", 60, 0)
    assert bought <= 60 + LIMIT
    assert (seen.gauge["peak"], seen.gauge["refusals"]) == (LIMIT, {})
