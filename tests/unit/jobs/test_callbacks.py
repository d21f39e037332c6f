"""Callbacks: whoever asked for it is told of a job's end, signed, until it is heard or given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.gateway import keyring
from tests.support.jobs import Workshop, callback_of, ended, run_all
from tests.support.receivers import Names, Receiver
from volcengine_client import verify
from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import CALLBACK_ATTEMPTS_MAX
from volcengine_client.models import JobRequest
from volcengine_gateway.jobs.callbacks import Try
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.secret import FixedKeys

WAITS_MS = [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, *[900_000] * 95]
PUBLIC = "93.184.216.34"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def workshop(tmp_path: Path, receiver: Receiver) -> Workshop:
    return Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))


# --- what is told -------------------------------------------------------------------


async def test_a_jobs_end_is_told_once_and_signed(workshop: Workshop, receiver: Receiver) -> None:
    job_id = await workshop.submit(["one", "two", "two"], callback_url=receiver.url("/done?a=b"))
    waits_ms = await run_all(workshop)
    told = await workshop.jobs.show(job_id, after=None, limit="0")

    [received] = receiver.received
    key = (await workshop.keys.keyring()).webhook_key
    assert verify(received.headers, received.body, key, workshop.clock.wall_ms() // 1_000)
    assert not verify(received.headers, received.body, b"another", workshop.clock.wall_ms() // 1_000)
    assert received.target == "/done?a=b"
    assert received.headers["webhook-id"] == f"{job_id}-done"
    assert json.loads(received.body) == {
        "job_id": job_id,
        "state": "done",
        "tasks": 3,
        "done": 3,
        "failed": 0,
        "characters": 9,
        "characters_bought": 6,
        "created_at_ms": told["created_at_ms"],
        "ended_at_ms": told["ended_at_ms"],
        "status_url": f"/jobs/{job_id}",
    }
    assert waits_ms == [0, 0]
    assert told["callback"] == {"state": "delivered", "attempts": 1}


async def test_a_callback_waits_for_the_jobs_end(workshop: Workshop, receiver: Receiver) -> None:
    workshop.voice.speak_ms = 100
    job_id = await workshop.submit([f"text {n}" for n in range(150)], callback_url=receiver.url())
    await workshop.slice(job_id, slice_ms=500)

    assert workshop.messages.sent == [(job_id, 0), (job_id, 0)]
    assert await callback_of(workshop, job_id) == {"state": "pending", "attempts": 0}
    assert receiver.received == []


async def test_nobody_is_told_who_did_not_want_it(workshop: Workshop) -> None:
    job_id = await workshop.submit(["a"])
    await workshop.slice(job_id)

    assert workshop.messages.sent == [(job_id, 0)]
    assert await callback_of(workshop, job_id) is None


async def test_a_failed_jobs_end_is_told(workshop: Workshop, receiver: Receiver) -> None:
    await workshop.submit(["a"], callback_url=receiver.url(), deadline_s=10)
    workshop.clock.ahead_ms += 11_000
    await run_all(workshop)

    assert [json.loads(received.body)["state"] for received in receiver.received] == ["failed"]


async def test_the_end_of_a_job_whose_account_is_gone_is_told(workshop: Workshop, receiver: Receiver) -> None:
    await workshop.submit(["a"], callback_url=receiver.url())
    workshop.keys = FixedKeys(keyring(login=None))
    await run_all(workshop)

    assert [json.loads(received.body)["state"] for received in receiver.received] == ["failed"]


async def test_a_cancelled_jobs_end_is_told_once(workshop: Workshop, receiver: Receiver) -> None:
    job_id = await workshop.submit(["a"], callback_url=receiver.url())
    await asyncio.gather(workshop.jobs.cancel(job_id))
    told = await workshop.jobs.cancel(job_id)
    messages = list(workshop.messages.sent)
    await run_all(workshop)

    assert messages == [(job_id, 0), (Try(job_id).message, 0)]
    assert told["callback"] == {"state": "pending", "attempts": 0}
    assert [json.loads(received.body)["state"] for received in receiver.received] == ["cancelled"]
    assert receiver.received[0].headers["webhook-id"] == f"{job_id}-cancelled"


async def test_a_job_that_is_cancelled_while_it_is_worked_on_is_told_of_once(
    workshop: Workshop, receiver: Receiver
) -> None:
    workshop.voice.speak_ms = 300
    job_id = await workshop.submit([f"text {n}" for n in range(30)], callback_url=receiver.url())
    work = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: bool(workshop.voice.spoken))
    await workshop.jobs.cancel(job_id)
    await work

    assert workshop.messages.sent == [(job_id, 0), (Try(job_id).message, 0)]


async def test_the_operators_own_key_signs(workshop: Workshop, receiver: Receiver) -> None:
    key = b"the-operators-own"
    workshop.keys = FixedKeys(replace(keyring(), webhook_key=key))
    await workshop.submit(["a"], callback_url=receiver.url())
    await run_all(workshop)

    [received] = receiver.received
    assert verify(received.headers, received.body, key, workshop.clock.wall_ms() // 1_000)


async def test_the_address_is_in_a_private_file_only(workshop: Workshop, receiver: Receiver, tmp_path: Path) -> None:
    """I6."""
    job_id = await workshop.submit(["a"], callback_url=receiver.url("/canary"))
    job = await workshop.store.table.get(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)
    await run_all(workshop)

    assert "canary" not in repr((job, told, workshop.journal))
    assert "canary" not in repr(JobRequest.model_validate({"tasks": [{"text": "a"}], "callback_url": "https://canary"}))
    assert _holders(tmp_path, b"canary") == [f"files/jobs/{job_id}/callback.json"]


def _holders(folder: Path, word: bytes) -> list[str]:
    """Return the files that hold a word."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in files if word in path.read_bytes()]


# --- where it may go -------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "http://127.0.0.1:1/",
        "https://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://localhost/",
        "https://[::1]/",
        "https://inside.example.com/",
    ],
)
async def test_a_job_with_an_address_that_leads_inside_is_refused_whole(url: str, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, receivers=Receivers(resolve=Names([["10.0.0.1"]])))
    with pytest.raises(InvalidRequestError, match="callback_url") as refusal:
        await workshop.submit(["a"], callback_url=url)

    assert refusal.value.details["fields"][0]["field"] == "callback_url"
    assert workshop.messages.sent == []
    assert _holders(tmp_path / "files", b"") == []


async def test_a_name_that_comes_to_lead_inside_is_not_called_and_given_up(tmp_path: Path, receiver: Receiver) -> None:
    """DNS rebinding, over the whole of a callback's life."""
    names = Names([[PUBLIC], ["127.0.0.1"]])
    workshop = Workshop(tmp_path, receivers=Receivers(resolve=names))
    job_id = await workshop.submit(["a"], callback_url=f"https://example.com:{receiver.port}/")
    await run_all(workshop)

    assert receiver.received == []
    assert len(names.asked) == 1 + CALLBACK_ATTEMPTS_MAX
    assert {event.reason for event in workshop.journal.callbacks} == {"address_refused"}
    assert await callback_of(workshop, job_id) == {"state": "failed", "attempts": CALLBACK_ATTEMPTS_MAX}


# --- again and again ---------------------------------------------------------------------


async def test_a_callback_is_tried_until_it_is_heard(tmp_path: Path) -> None:
    async with Receiver([500, 302, 404, 200]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        key = (await workshop.keys.keyring()).webhook_key
        waits_ms = await run_all(workshop)

        ids, times = (
            [said.headers[name] for said in receiver.received] for name in ("webhook-id", "webhook-timestamp")
        )
        assert waits_ms == [0, *WAITS_MS[:3]]
        assert ids == [f"{job_id}-done"] * 4
        assert int(times[-1]) - int(times[0]) >= sum(WAITS_MS[:3]) // 1_000
        assert all(
            verify(said.headers, said.body, key, int(at)) for said, at in zip(receiver.received, times, strict=True)
        )
        assert len({said.body for said in receiver.received}) == 1
        assert await callback_of(workshop, job_id) == {"state": "delivered", "attempts": 4}
        assert [(event.attempt, event.state, event.reason) for event in workshop.journal.callbacks] == [
            (1, "announced", "http_500"),
            (2, "announced", "http_302"),
            (3, "announced", "http_404"),
            (4, "delivered", "http_200"),
        ]


async def test_a_callback_that_nobody_hears_is_given_up(tmp_path: Path) -> None:
    async with Receiver([500]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        waits_ms = await run_all(workshop)

        assert waits_ms == [0, *WAITS_MS]
        assert sum(waits_ms) >= 24 * 3_600_000
        assert len(receiver.received) == CALLBACK_ATTEMPTS_MAX == len(waits_ms)
        assert workshop.journal.callbacks[-1].state == "failed"
        assert await callback_of(workshop, job_id) == {"state": "failed", "attempts": CALLBACK_ATTEMPTS_MAX}


async def test_a_receiver_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    async with Receiver([500, 410]) as receiver:
        workshop = Workshop(tmp_path, receivers=Receivers([receiver.test_host()]))
        job_id = await ended(workshop, receiver.url())
        waits_ms = await run_all(workshop)

        assert waits_ms == [0, WAITS_MS[0]]
        assert await callback_of(workshop, job_id) == {"state": "failed", "attempts": 2}
