"""Jobs, over real processes: any size, in order, paid once, and nobody waits behind them."""

from __future__ import annotations

import asyncio
import json
import statistics

import aiohttp
import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from infra.local.waiting import until
from infra.stages import LOCAL
from tests.support.crowd import Seen, batch
from tests.support.local_jobs import (
    assert_job_right,
    ended,
    is_same_refusal,
    pool_writes,
    results_of,
    submitted,
    told,
    uploaded,
)
from tests.support.local_stack import Aws, Gateway
from volcengine_client.clock import SystemClock
from volcengine_client.limits import BODY_BYTES_MAX

MEAN_MS = 300
LIMIT = 10
ATTEMPTS_MAX = LOCAL.worker_attempts_max
CLOCK = SystemClock()


@pytest.fixture
def app_id(aws: Aws) -> str:
    account: str = aws.secret()["volcengine_tts_appid"]
    return account


async def test_a_job_is_spoken_whole_in_order_and_within_the_limit(
    gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession, aws: Aws, app_id: str
) -> None:
    tasks = batch(1, 250, is_repeating_ids=True)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    writes_before = pool_writes(aws)
    address = await submitted(gateway, tasks)
    job = await ended(gateway, address)
    seen = Seen.of(await simulator.record(), app_id)

    assert (job["state"], job["done"], job["failed"]) == ("done", 250, 0)
    assert job["characters_bought"] == job["characters"] == sum(len(task["text"]) for task in tasks)
    seen.assert_kept([task["text"] for task in tasks])
    assert seen.busy() > 0.8
    assert pool_writes(aws) - writes_before <= 0.3 * 250
    await assert_job_right(session, tasks, await results_of(gateway, address))


async def test_a_list_larger_than_a_body_is_uploaded_and_spoken_once(
    gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession, app_id: str
) -> None:
    """I8: it is started twice at once, as when a reply was lost, and once more after its end."""
    tasks = batch(9, 265)
    content = b"".join(json.dumps(task).encode().ljust(16_000) + b"\n" for task in tasks)
    assert len(content) > BODY_BYTES_MAX
    await simulator.order(mean_ms=20, reset=True)
    body = {"upload_id": await uploaded(gateway, session, content), "app": "bookshop"}
    starts = await asyncio.gather(*(gateway.ask("POST", "/jobs", headers=gateway.admin, json=body) for _ in range(2)))
    [address] = {answer.json["status_url"] for answer in starts}
    job = await ended(gateway, address)
    late = await gateway.ask("POST", "/jobs", headers=gateway.admin, json=body)
    seen = Seen.of(await simulator.record(), app_id)

    assert [answer.status for answer in (*starts, late)] == [202] * 3
    assert (job["state"], job["done"], late.json["job_id"]) == ("done", 265, job["job_id"])
    seen.assert_kept([task["text"] for task in tasks])
    await assert_job_right(session, tasks, await results_of(gateway, address))


async def test_a_broken_line_of_an_uploaded_list_is_named(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    content = b'{"text": "Hello."}\n' * 16 + b'{"text": ""}\n'
    ids = [await uploaded(gateway, session, content), "0" * 32]
    broken, unknown = [
        await gateway.ask("POST", "/jobs", headers=gateway.admin, json={"upload_id": upload_id}) for upload_id in ids
    ]

    assert (broken.status, unknown.status) == (422, 422)
    assert broken.json["error"]["details"]["fields"][0]["field"] == "lines[17].text"
    assert unknown.json["error"]["details"]["fields"][0]["field"] == "upload_id"


async def test_one_sentence_does_not_wait_behind_a_job(gateway: Gateway, simulator: Simulator, app_id: str) -> None:
    """I7: the job is background work."""
    await gateway.warm(1)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(gateway, batch(2, 300))

    async def is_under_way() -> bool:
        return len((await simulator.record()).calls) >= 2 * LIMIT

    await until(is_under_way, what="the job is under way", within_ms=60_000, clock=CLOCK)
    waits_ms = []
    for caller in range(3, 8):
        answer = await gateway.speak(batch(caller, 1))
        assert answer.status == 200, answer.text
        waits_ms.append(answer.json["pool"]["waited_ms"])
    is_over = (await told(gateway, address))["ended_at_ms"] is not None
    await ended(gateway, address)
    seen = Seen.of(await simulator.record(), app_id)

    assert not is_over
    assert statistics.median(waits_ms) <= MEAN_MS
    assert (seen.gauge["peak"], seen.gauge["refusals"]) == (LIMIT, {})


async def test_a_job_outlives_its_worker(
    quick_stack: Stack, quick_gateway: Gateway, quick_simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    """I8: what was in the air is bought again, at most the limit; all the rest is found."""
    tasks = batch(1, 120)
    await quick_simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(quick_gateway, tasks)

    async def is_half_done() -> bool:
        return len((await quick_simulator.record()).calls) >= 60

    await until(is_half_done, what="the job is half done", within_ms=60_000, clock=CLOCK)
    for function in quick_gateway.speaking():
        function.kill()
    job = await ended(quick_gateway, address)
    app_id = Aws(quick_stack).secret()["volcengine_tts_appid"]
    seen = Seen.of(await quick_simulator.record(), app_id)
    bought = {text: counts["bought"] for text, counts in seen.gauge["texts"].items()}

    assert (job["state"], job["done"]) == ("done", 120)
    assert bought.keys() == {task["text"] for task in tasks}
    assert sum(bought.values()) <= 120 + LIMIT
    assert (seen.gauge["peak"], seen.gauge["refusals"]) == (LIMIT, {})
    await assert_job_right(session, tasks, await results_of(quick_gateway, address))


async def test_a_job_that_no_worker_comes_through_with_says_so_and_a_moved_message_takes_it_up(
    gateway: Gateway, stack: Stack, aws: Aws
) -> None:
    """Whatever ends the workers; here they take no message at all."""
    queues = aws.client("sqs")
    with aws.paused(stack.job_queue):
        address = await submitted(gateway, batch(1, 3))
        for _ in range(ATTEMPTS_MAX + 1):
            queues.receive_message(QueueUrl=stack.job_queue, VisibilityTimeout=0)
        lost = await ended(gateway, address)
        letters: list[dict[str, str]] = []

        async def is_kept() -> bool:
            letters.extend(queues.receive_message(QueueUrl=stack.dead_letter_queue).get("Messages", []))
            return bool(letters)

        await until(is_kept, what="the message is kept", within_ms=60_000, clock=CLOCK)
    for letter in letters:
        queues.send_message(QueueUrl=stack.job_queue, MessageBody=letter["Body"])
        queues.delete_message(QueueUrl=stack.dead_letter_queue, ReceiptHandle=letter["ReceiptHandle"])

    async def is_done() -> bool:
        return bool((await told(gateway, address))["state"] == "done")

    await until(is_done, what="the moved message led to the job's end", within_ms=60_000, clock=CLOCK)

    assert (lost["state"], lost["error"]["code"]) == ("failed", "job_lost")
    assert [f"/jobs/{letter['Body']}" for letter in letters] == [address]


async def test_a_cancelled_job_starts_no_further_call(gateway: Gateway, simulator: Simulator) -> None:
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(gateway, batch(1, 400))

    async def is_under_way() -> bool:
        return len((await simulator.record()).calls) >= 2 * LIMIT

    await until(is_under_way, what="the job is under way", within_ms=60_000, clock=CLOCK)
    first = await gateway.ask("DELETE", address, headers=gateway.admin)
    again = await gateway.ask("DELETE", address, headers=gateway.admin)

    async def are_all_told() -> bool:
        return len(await results_of(gateway, address)) == 400

    await until(are_all_told, what="its last calls have ended", within_ms=60_000, clock=CLOCK)
    results = await results_of(gateway, address)

    assert (first.status, first.json["state"]) == (again.status, again.json["state"]) == (200, "cancelled")
    assert len(results) == 400
    assert results[-1]["error"]["code"] == "job_cancelled"
    assert len((await simulator.record()).calls) < 200


async def test_who_asks_for_a_job_that_is_not_there_learns_nothing(gateway: Gateway) -> None:
    ids = ["0" * 32, "f" * 32, "1234", "a.b", "%7B%7D%22", "A" * 32, "x" * 300]
    answers = await asyncio.gather(*(gateway.get(f"/jobs/{job_id}", headers=gateway.admin) for job_id in ids))
    keyless = await gateway.get(f"/jobs/{'0' * 32}")

    assert {answer.status for answer in answers} == {404}
    assert is_same_refusal(answers)
    assert keyless.status == 401
