"""Jobs that no worker came through with: they say so, may be sent again, and are taken up by a moved message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, Remaining
from tests.support.jobs import DAY_MS, Messages, Workshop, callback_of, run_all
from tests.support.receivers import Receiver
from volcengine_client.errors import StoreError
from volcengine_client.models import JobRequest
from volcengine_client.pool.memory import MemoryTable
from volcengine_gateway.jobs.callbacks import Try
from volcengine_gateway.jobs.lost import LostJobs
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.wiring import Invocations

TEXTS = ["one", "two", "three"]
BODY = {"tasks": [{"text": text} for text in TEXTS]}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def workshop(tmp_path: Path, receiver: Receiver) -> Workshop:
    return Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))


async def _buried(workshop: Workshop, job_id: str) -> None:
    """Let a job's message be one that no worker came through with."""
    workshop.messages.sent = [sent for sent in workshop.messages.sent if sent[0] != job_id]
    await LostJobs(workshop.store, clock=workshop.clock).take(job_id)


async def _moved_back(workshop: Workshop) -> None:
    """Let the operator move all dead letters back."""
    for message, _ in workshop.dead_letters.sent:
        await workshop.messages.send(message)
    await run_all(workshop)


async def test_a_job_that_no_worker_ever_claimed_says_so(workshop: Workshop) -> None:
    job_id = await workshop.submit(TEXTS)
    await _buried(workshop, job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)

    assert (told["state"], told["error"]["code"], told["error"]["retryable"]) == ("failed", "job_lost", True)
    assert told["ended_at_ms"] is not None
    assert [result["error"]["code"] for result in told["results"]] == ["job_lost"] * 3
    assert workshop.dead_letters.sent == [(job_id, 0)]


async def test_a_job_whose_workers_all_vanish_says_so(workshop: Workshop) -> None:
    job_id = await workshop.submit(TEXTS)
    work = asyncio.create_task(workshop.slice(job_id, attempt=5))
    await workshop.until(lambda: bool(workshop.voice.spoken))
    work.cancel()
    await asyncio.wait({work})
    workshop.clock.ahead_ms += 61_000
    await _buried(workshop, job_id)

    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)
    assert told["error"]["code"] == "job_lost"


async def test_a_job_that_only_waits_behind_others_is_never_called_lost(workshop: Workshop) -> None:
    job_id = await workshop.submit(TEXTS)
    workshop.clock.ahead_ms += 3 * DAY_MS

    assert (await workshop.jobs.show(job_id, after=None, limit="0"))["state"] == "queued"


async def test_a_job_at_which_another_worker_is_goes_on(workshop: Workshop) -> None:
    """A message may be there twice, and only one of the two be dead."""
    workshop.voice.speak_ms = 100
    job_id = await workshop.submit(TEXTS)
    work = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: bool(workshop.voice.spoken))
    await _buried(workshop, job_id)
    during = (await workshop.jobs.show(job_id, after=None, limit="0"))["state"]
    await work

    assert during == "running"
    assert (await workshop.jobs.show(job_id, after=None, limit="0"))["state"] == "done"


async def test_a_job_that_is_over_stays_as_it_is(workshop: Workshop) -> None:
    done, cancelled = await workshop.submit(["a"]), await workshop.submit(["b"])
    await workshop.slice(done)
    await workshop.jobs.cancel(cancelled)
    for job_id in (done, cancelled):
        await _buried(workshop, job_id)

    assert [(await workshop.jobs.show(job_id, after=None, limit="0"))["state"] for job_id in (done, cancelled)] == [
        "done",
        "cancelled",
    ]


async def test_whoever_waits_for_a_lost_job_is_told_once(workshop: Workshop, receiver: Receiver) -> None:
    job_id = await workshop.submit(TEXTS, callback_url=receiver.url())
    await _buried(workshop, job_id)
    await _buried(workshop, job_id)
    await run_all(workshop)

    assert [received.headers["webhook-id"] for received in receiver.received] == [f"{job_id}-failed"]


async def test_a_loss_that_was_written_in_a_process_that_came_no_further_is_told(
    workshop: Workshop, receiver: Receiver
) -> None:
    job_id = await workshop.submit(TEXTS, callback_url=receiver.url())
    whole = workshop.store
    workshop.store = replace(whole, queue=_Unreachable())
    with pytest.raises(StoreError):
        await _buried(workshop, job_id)
    workshop.store = whole
    await _buried(workshop, job_id)
    await run_all(workshop)

    assert len(receiver.received) == 1
    assert workshop.dead_letters.sent == [(job_id, 0)]


async def test_a_message_that_was_moved_back_brings_a_lost_job_to_its_end(
    workshop: Workshop, receiver: Receiver
) -> None:
    job_id = await workshop.submit(TEXTS, callback_url=receiver.url())
    await _buried(workshop, job_id)
    await run_all(workshop)
    await _moved_back(workshop)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert (told["state"], told["done"], told["error"]) == ("done", 3, None)
    assert [json.loads(received.body)["state"] for received in receiver.received] == ["failed", "done"]
    assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 1}


async def test_a_lost_job_that_is_sent_again_begins_anew_under_its_key_too(workshop: Workshop) -> None:
    keyring = await workshop.keys.keyring()
    for key in (None, "k"):
        told = [
            await workshop.jobs.submit(
                JobRequest.model_validate(BODY), keyring=keyring, shown_admin_key=ADMIN_KEY, idempotency_key=key
            )
            for _ in range(2)
        ]
        await _buried(workshop, told[0]["job_id"])
        again = await workshop.jobs.submit(
            JobRequest.model_validate(BODY), keyring=keyring, shown_admin_key=ADMIN_KEY, idempotency_key=key
        )

        assert told[0]["job_id"] == told[1]["job_id"] != again["job_id"]
        assert again["state"] == "queued"


async def test_a_batch_whose_job_was_lost_begins_anew_under_its_key_too(workshop: Workshop) -> None:
    """I8: what was spoken for it is found."""
    for headers in ({}, {"idempotency_key": "k"}):
        body = {"tasks": [{"text": f"text {number} {headers}"} for number in range(60)]}
        workshop.voice.speak_ms = 300
        first = await workshop.bench().post(body, admin_key=ADMIN_KEY, remaining_ms=4_500, **headers)
        await _buried(workshop, first.said["job"]["job_id"])
        workshop.voice.speak_ms = 1
        workshop._table = MemoryTable(clock=workshop.clock)  # where no slot rests after a call that was cut
        second = await workshop.bench().post(body, admin_key=ADMIN_KEY, remaining_ms=29_000, **headers)

        assert second.said["job"] is None
        assert all(result["audio_base64"] for result in second.said["results"])
    assert set(workshop.bought().values()) == {1}


async def test_a_lost_job_and_the_one_sent_in_its_place_may_both_come_to_an_end(workshop: Workshop) -> None:
    """I8: the later of the two finds what the other had spoken."""
    first = await workshop.submit(TEXTS)
    await _buried(workshop, first)
    second = await workshop.submit(TEXTS)
    await _moved_back(workshop)

    for job_id in (first, second):
        assert (await workshop.jobs.show(job_id, after=None, limit="0"))["state"] == "done"
    assert workshop.bought() == dict.fromkeys(TEXTS, 1)


async def test_a_try_to_call_back_that_no_worker_came_through_with_goes_on_when_it_is_moved_back(
    workshop: Workshop, receiver: Receiver
) -> None:
    job_id = await workshop.submit(TEXTS, callback_url=receiver.url())
    await workshop.slice(job_id)
    workshop.messages.sent.clear()
    await _buried(workshop, Try(job_id).message)
    before = await callback_of(workshop, job_id)
    await _moved_back(workshop)

    assert before == {"state": "pending", "attempts": 0}
    assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 1}


def test_the_function_of_the_api_takes_them_and_leaves_what_it_could_not_take(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        workshop = Workshop(tmp_path)
        first, second = runner.run(workshop.submit(["a"])), runner.run(workshop.submit(["b"]))
        bench = workshop.bench()
        answers = []
        for job_id, store in ((first, workshop.store), (second, replace(workshop.store, dead_letters=_Unreachable()))):
            lost = LostJobs(store, clock=workshop.clock)
            invocations = Invocations(bench.gateway, runner.get_loop(), lost=lost)
            answers.append(invocations.answer({"Records": [_record(job_id)]}, Remaining()))

        assert answers == [{"batchItemFailures": []}, {"batchItemFailures": [{"itemIdentifier": second}]}]
        assert workshop.dead_letters.sent == [(first, 0)]
        assert [put_off.message_id for put_off in bench.journal.put_offs] == [second]


class _Unreachable(Messages):
    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        raise StoreError(f"out of reach, for {message} in {delay_ms} ms")


def _record(message: str) -> dict[str, Any]:
    return {"messageId": message, "body": message, "attributes": {"ApproximateReceiveCount": "1"}}
