"""Errands: whatever ends a process, and however often a message comes, whoever waits to be told is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway import ADMIN_KEY, KeptJournal
from tests.support.jobs import SLICE_MS, Messages, ShiftedClock, Workshop, callback_of, ended, run, run_all
from tests.support.receivers import Receiver
from volcengine_client.errors import StoreError
from volcengine_client.limits import CALLBACK_ATTEMPTS_MAX, CALLBACK_WAIT_MS
from volcengine_client.models import JobRequest
from volcengine_gateway.jobs.callbacks import Callbacks, Try
from volcengine_gateway.jobs.embedded import EmbeddedJobs, Retention
from volcengine_gateway.jobs.errands import Errands
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.local import SQLiteJobTable, kept_key
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.wiring import Deliveries


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def workshop(tmp_path: Path, receiver: Receiver) -> Workshop:
    return Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))


@dataclass
class ForgetfulMessages(Messages):
    """A queue that is out of reach for the sends that a test names, counted from 1."""

    lost: Sequence[int] = ()
    send_count: int = 0

    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        self.send_count += 1
        if self.send_count in self.lost:
            raise StoreError("out of reach")
        await super().send(message, delay_ms=delay_ms)


class ForgetfulTable(SQLiteJobTable):
    """A table that is out of reach for the next writes."""

    lost_count = 0

    async def write(self, job: Job) -> bool:
        if self.lost_count:
            self.lost_count -= 1
            raise StoreError("out of reach")
        return await super().write(job)


async def _submitted(workshop: Workshop, receiver: Receiver) -> str:
    """Submit a job to the store as it is now."""
    workshop.jobs.store = workshop.store
    return await workshop.submit(["a"], callback_url=receiver.url())


async def test_a_job_that_ended_in_a_process_that_came_no_further_is_told_of(
    workshop: Workshop, receiver: Receiver
) -> None:
    queue = ForgetfulMessages(lost=[2])
    workshop.store = replace(workshop.store, queue=queue)
    job_id = await _submitted(workshop, receiver)
    with pytest.raises(StoreError):
        await run(workshop, job_id)
    assert await run(workshop, job_id)
    workshop.messages.sent = queue.sent[1:]
    await run_all(workshop)

    assert len(receiver.received) == 1
    assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 1}


async def test_a_cancelled_job_whose_callback_could_not_be_sent_for_is_told_of_when_it_is_cancelled_again(
    workshop: Workshop, receiver: Receiver
) -> None:
    queue = ForgetfulMessages(lost=[2])
    workshop.store = replace(workshop.store, queue=queue)
    job_id = await _submitted(workshop, receiver)
    with pytest.raises(StoreError):
        await workshop.jobs.cancel(job_id)
    await workshop.jobs.cancel(job_id)

    assert queue.sent == [(job_id, 0), (Try(job_id).message, 0)]


async def test_a_failed_try_whose_successor_was_not_sent_for_is_not_made_twice(tmp_path: Path) -> None:
    async with Receiver([500, 200]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        queue = ForgetfulMessages(lost=[1])
        workshop.store = replace(workshop.store, queue=queue)
        with pytest.raises(StoreError):
            await run(workshop, Try(job_id).message)
        assert await run(workshop, Try(job_id).message)

        assert len(receiver.received) == 1
        assert queue.sent == [(Try(job_id, 2).message, CALLBACK_WAIT_MS)]
        assert await run(workshop, Try(job_id, 2).message)
        assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 2}


async def test_a_try_that_was_heard_but_not_written_down_is_made_again_under_the_same_id(
    workshop: Workshop, receiver: Receiver, tmp_path: Path
) -> None:
    job_id = await ended(workshop, receiver.url())
    table = ForgetfulTable(tmp_path / "jobs.sqlite3")
    workshop.store = replace(workshop.store, table=table)
    table.lost_count = 1
    with pytest.raises(StoreError):
        await run(workshop, Try(job_id).message)
    assert await run(workshop, Try(job_id).message)

    assert [received.headers["webhook-id"] for received in receiver.received] == [f"{job_id}-done"] * 2
    assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 1}


async def test_a_message_that_comes_again_after_all_changes_nothing(workshop: Workshop, receiver: Receiver) -> None:
    job_id = await ended(workshop, receiver.url())
    for attempt in (1, 1, 2, 3):
        assert await run(workshop, Try(job_id, attempt).message)
    assert await run(workshop, job_id)
    assert await run(workshop, Try("0" * 32).message)

    assert len(receiver.received) == 1
    assert workshop.messages.sent == [(Try(job_id).message, 0)]


async def test_messages_that_come_twice_at_once_make_no_further_tries(tmp_path: Path) -> None:
    async with Receiver([500]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        workshop.messages.sent *= 3
        while workshop.messages.sent:
            messages, workshop.messages.sent = workshop.messages.sent, []
            assert all(await asyncio.gather(*(run(workshop, message) for message, _ in messages)))

        assert len(receiver.received) <= 3 * CALLBACK_ATTEMPTS_MAX
        assert await callback_of(workshop, job_id) == {"state": "failed", "attempts": CALLBACK_ATTEMPTS_MAX}


async def test_one_who_heard_among_two_at_once_is_enough(tmp_path: Path) -> None:
    async with Receiver([500, 200]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        await asyncio.gather(*(run(workshop, Try(job_id).message) for _ in range(2)))

        assert len(receiver.received) == 2
        assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 1}


async def test_a_callback_whose_address_is_gone_is_given_up(
    workshop: Workshop, receiver: Receiver, tmp_path: Path
) -> None:
    job_id = await ended(workshop, receiver.url())
    (tmp_path / "files" / "jobs" / job_id / "callback.json").unlink()
    await run_all(workshop)

    assert await callback_of(workshop, job_id) == {"state": "failed", "attempts": 1}
    assert workshop.journal.callbacks[-1].reason == "expired"


@given(st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(1, CALLBACK_ATTEMPTS_MAX))
def test_a_message_says_what_it_is_for(job_id: str, attempt: int) -> None:
    due = Try(job_id, attempt)

    assert Try.within(due.message) == due
    assert Try.within(job_id) is None
    assert len(due.message) < 200


def test_a_message_of_a_later_version_is_not_taken_for_anything() -> None:
    with pytest.raises(AssertionError):
        Try.within(Try("0" * 32).message.replace('"version": 1', '"version": 2'))


# --- through the doors --------------------------------------------------------------------


class Remaining:
    """Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def _event(*messages: str) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": "1"}
    return {
        "Records": [
            {"messageId": str(number), "body": message, "attributes": attributes}
            for number, message in enumerate(messages)
        ]
    }


def test_lambda_runs_the_errands_of_messages_and_names_those_that_should_come_again(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        receiver = runner.run(Receiver().__aenter__())
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = runner.run(workshop.submit(["a"], callback_url=receiver.url()))
        journal = KeptJournal()
        deliveries = Deliveries(workshop.errands(), runner.get_loop(), slice_ms=SLICE_MS, journal=journal)
        unreadable = '{"version": 2}'
        answers = [
            deliveries.work(_event(*messages), Remaining())
            for messages in ([job_id], [unreadable, Try(job_id).message])
        ]
        runner.run(receiver.__aexit__())

        assert answers == [{"batchItemFailures": []}, {"batchItemFailures": [{"itemIdentifier": "0"}]}]
        assert len(receiver.received) == 1
        assert [bug["kinds"] for bug in journal.bugs] == [["AssertionError"]]


async def test_the_self_hosted_server_goes_on_telling_after_it_was_restarted(tmp_path: Path) -> None:
    async with Receiver([500, 200]) as receiver:
        workshop = Workshop(tmp_path / "bench")
        job_id = ""
        for state in ("pending", "delivered"):
            served = _Served(tmp_path / "served", workshop, Receivers([receiver.test_host()]))
            await served.embedded.start(served.errands)
            if not job_id:
                request = JobRequest.model_validate({"tasks": [{"text": "a"}], "callback_url": receiver.url()})
                keys = await workshop.keys.keyring()
                told = await served.embedded.jobs.submit(request, keyring=keys, shown_admin_key=ADMIN_KEY)
                job_id = told["job_id"]
            attempts = 1 if state == "pending" else 2
            while await served.callback(job_id) != {"state": state, "attempts": attempts}:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)
            await served.embedded.stop()

        assert [received.headers["webhook-id"] for received in receiver.received] == [f"{job_id}-done"] * 2


async def test_an_address_of_audio_outlives_the_server_that_gave_it_out(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "bench")
    addresses, are_good = [], []
    for folder in ("served", "served", "another"):
        served = _Served(tmp_path / folder, workshop, Receivers())
        await served.embedded.start(served.errands)
        addresses.append(urlsplit(served.embedded.files.url("speech/a.mp3")))
        asked = dict(parse_qsl(addresses[0].query))
        are_good.append(served.embedded.files.is_signed("speech/a.mp3", **asked))
        await served.embedded.stop()

    assert are_good == [True, True, False]
    assert (tmp_path / "served" / "address.key").stat().st_mode & 0o777 == 0o600


def test_a_key_of_addresses_that_is_not_whole_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "address.key").write_bytes(b"short")
    key = kept_key(tmp_path / "address.key")

    assert key == kept_key(tmp_path / "address.key")
    assert len(key) == 32


class _Served:
    """The jobs of one life of a self-hosted server."""

    def __init__(self, folder: Path, workshop: Workshop, receivers: Receivers) -> None:
        clock, journal = ShiftedClock(), KeptJournal()
        self.embedded = EmbeddedJobs(
            folder,
            retention=Retention(jobs_days=1, speech_days=2),
            clock=clock,
            journal=journal,
            receivers=receivers,
        )
        worker = workshop.worker()
        worker._store = self.embedded.store
        callbacks = Callbacks(
            self.embedded.store, keys=workshop.keys, receivers=receivers, clock=clock, journal=journal
        )
        self.errands = Errands(worker, callbacks)

    async def callback(self, job_id: str) -> object:
        return (await self.embedded.jobs.show(job_id, after=None, limit="0"))["callback"]
