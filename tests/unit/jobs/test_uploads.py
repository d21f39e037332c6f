"""Lists that are uploaded: their jobs begin once, whatever is lost, and broken lists buy nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, Bench, Told, event
from tests.support.jobs import Workshop
from volcengine_client.errors import InvalidRequestError, StoreError
from volcengine_client.limits import HAND_OVER_MS, UPLOAD_BYTES_MAX, UPLOAD_URL_MS
from volcengine_gateway.jobs import uploads
from volcengine_gateway.jobs.lost import LostJobs
from volcengine_gateway.jobs.uploads import upload_file

UNKNOWN = "0" * 32


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return workshop.bench()


async def post(bench: Bench, body: Any, *, query: str = "", admin_key: str | None = ADMIN_KEY, **headers: str) -> Told:
    asked = event("POST", "/jobs", body=json.dumps(body), admin_key=admin_key, **headers)
    return await bench.ask({**asked, "rawQueryString": query, "requestContext": _context_of(asked)})


def _context_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {**asked["requestContext"], "timeEpoch": None}


def list_of(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


async def uploaded(workshop: Workshop, bench: Bench, content: bytes) -> str:
    told = await post(bench, {"upload": True})
    assert told.status == 201
    upload_id: str = told.said["upload"]["upload_id"]
    await workshop.store.files.put(upload_file(upload_id), content)
    return upload_id


async def test_an_address_is_handed_out_to_those_with_the_key(workshop: Workshop, bench: Bench) -> None:
    handed_out = [(await post(bench, {"upload": True})).said["upload"] for _ in range(2)]
    sized = (await post(bench, {"upload": True, "bytes": 1_000})).said["upload"]

    assert handed_out[0]["upload_id"] != handed_out[1]["upload_id"]
    assert (handed_out[0]["method"], handed_out[0]["bytes_max"], sized["bytes_max"]) == ("PUT", UPLOAD_BYTES_MAX, 1_000)
    assert 0 < handed_out[0]["expires_at_ms"] - workshop.clock.wall_ms() <= UPLOAD_URL_MS
    for admin_key in (None, "wrong"):
        assert (await post(bench, {"upload": True}, admin_key=admin_key)).status == 401
        assert (await post(bench, {"upload_id": UNKNOWN}, admin_key=admin_key)).status == 401


async def test_an_uploaded_list_is_a_job_like_any_other(workshop: Workshop, bench: Bench) -> None:
    texts = [f"Number {n}." for n in range(230)]
    upload_id = await uploaded(workshop, bench, list_of(*texts))
    told = await post(bench, {"upload_id": upload_id, "app": "bookshop", "priority": "interactive", "deadline_s": 600})

    assert (told.status, told.headers["Location"]) == (202, told.said["status_url"])
    job_id = told.said["job_id"]
    assert (told.said["tasks"], told.said["characters"]) == (230, sum(map(len, texts)))
    assert (told.said["app"], told.said["priority"]) == ("bookshop", "interactive")
    assert [message for message, _ in workshop.messages.sent] == [job_id]
    await workshop.slice(job_id)
    results = await workshop.results(job_id)
    assert [(await workshop.audio(result)).decode() for result in results] == texts
    assert set(workshop.bought().values()) == {1}


async def test_voices_that_nobody_knows_are_told_when_the_job_is_handed_in(workshop: Workshop, bench: Bench) -> None:
    lines = b"".join(json.dumps({"text": "a", "voice_type": "BV001_steaming"}).encode() + b"\n" for _ in range(3))
    told = await post(bench, {"upload_id": await uploaded(workshop, bench, lines + list_of("a"))})

    assert len(told.said["warnings"]) == 1
    assert "BV001_streaming" in told.said["warnings"][0]


async def test_a_start_whose_reply_was_lost_leads_to_the_same_job(workshop: Workshop, bench: Bench) -> None:
    upload_id = await uploaded(workshop, bench, list_of("a", "b"))
    body = {"upload_id": upload_id}
    told = await asyncio.gather(*(post(bench, {**body, "cache": cache}) for cache in (False, False, False)))
    keyed = await post(bench, {**body, "cache": False}, Idempotency_Key="one")
    await workshop.slice(told[0].said["job_id"])
    after = await post(bench, {**body, "cache": False}, Idempotency_Key="another")

    assert {one.said["job_id"] for one in (*told, keyed, after)} == {told[0].said["job_id"]}
    assert after.said["state"] == "done"
    assert sum(workshop.bought().values()) == 2


async def test_a_job_whose_message_was_never_sent_is_sent_for_by_the_next_start(
    workshop: Workshop, bench: Bench
) -> None:
    upload_id = await uploaded(workshop, bench, list_of("a"))
    workshop.messages.is_out_of_reach = True
    first = await post(bench, {"upload_id": upload_id})
    workshop.messages.is_out_of_reach = False
    again = await post(bench, {"upload_id": upload_id})

    assert (first.status, first.error["retryable"]) == (503, True)
    assert (again.status, workshop.messages.sent) == (202, [(again.said["job_id"], 0)])


async def test_a_lost_job_of_an_upload_goes_on_when_it_is_started_again(workshop: Workshop, bench: Bench) -> None:
    upload_id = await uploaded(workshop, bench, list_of("a"))
    job_id = (await post(bench, {"upload_id": upload_id})).said["job_id"]
    await LostJobs(workshop.store, clock=workshop.clock).take(job_id)
    workshop.messages.sent.clear()
    again = await post(bench, {"upload_id": upload_id})
    await workshop.slice(workshop.messages.sent[0][0])

    assert again.said["job_id"] == job_id
    assert (await workshop.jobs.show(job_id, after=None, limit="0"))["state"] == "done"


async def test_an_upload_is_one_job_and_no_other(workshop: Workshop, bench: Bench) -> None:
    upload_id = await uploaded(workshop, bench, list_of("a"))
    await post(bench, {"upload_id": upload_id})
    other = await post(bench, {"upload_id": upload_id, "app": "other"})
    foreign = await post(bench, {"upload_id": await workshop.submit(["b"])})

    assert (other.status, foreign.status) == (422, 422)
    assert "other fields" in other.error["message"]
    assert "No list was uploaded" in foreign.error["message"]


async def test_a_list_that_is_uploaded_when_its_job_goes_on_is_not_taken_for_that_job_s(
    workshop: Workshop, bench: Bench
) -> None:
    """Its owner would wait for what nobody speaks."""
    upload_id = await uploaded(workshop, bench, list_of("a", "b"))
    first = await post(bench, {"upload_id": upload_id})
    await workshop.store.files.put(upload_file(upload_id), list_of("a", "mended"))
    told = await post(bench, {"upload_id": upload_id})

    assert (first.status, told.status) == (202, 422)
    assert "another list" in told.error["message"]


async def test_a_list_that_is_mended_under_the_same_address_begins_its_job(workshop: Workshop, bench: Bench) -> None:
    upload_id = await uploaded(workshop, bench, list_of("a", "") + b"x")
    broken = await post(bench, {"upload_id": upload_id})
    await workshop.store.files.put(upload_file(upload_id), list_of("a", "b"))
    mended = await post(bench, {"upload_id": upload_id})

    assert broken.status == 422
    assert (mended.status, mended.said["tasks"]) == (202, 2)


async def test_a_broken_line_is_told_and_buys_nothing(workshop: Workshop, bench: Bench) -> None:
    texts = [f"Number {n}." for n in range(150)]
    texts[16] = ""
    upload_id = await uploaded(workshop, bench, list_of(*texts))
    told = await post(bench, {"upload_id": upload_id})

    assert (told.status, told.error["retryable"]) == (422, False)
    assert told.error["message"].startswith("line 17: text: ")
    assert told.error["details"]["fields"][0]["field"] == "lines[17].text"
    assert workshop.messages.sent == []
    assert await workshop.store.table.get(upload_id) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"upload": False}, "upload"),
        ({"upload": True, "bytes": 0}, "bytes"),
        ({"upload": True, "bytes": UPLOAD_BYTES_MAX + 1}, "bytes"),
        ({"upload": True, "bytes": True}, "bytes"),
        ({"upload": True, "tasks": []}, "tasks"),
        ({"upload_id": UNKNOWN}, "upload_id"),
        ({"upload_id": UNKNOWN + "\n"}, "upload_id"),
        ({"upload_id": "F" * 32}, "upload_id"),
        ({"upload_id": "../" * 9}, "upload_id"),
        ({"upload_id": 7}, "upload_id"),
        ({"upload_id": None}, "upload_id"),
        ({"upload_id": UNKNOWN, "tasks": [{"text": "a"}]}, "tasks"),
        ({"upload_id": UNKNOWN, "app": "no app"}, "app"),
        ({"upload_id": UNKNOWN, "callback_url": "http://127.0.0.1/"}, "callback_url"),
    ],
)
async def test_what_is_no_upload_is_refused(bench: Bench, body: Any, field: str) -> None:
    told = await post(bench, body)

    assert told.status == 422
    assert [one["field"] for one in told.error["details"]["fields"]] == [field]
    assert bench.journal.bugs == []


async def test_an_estimate_wants_its_tasks_in_the_body(bench: Bench) -> None:
    for body in ({"upload": True}, {"upload_id": UNKNOWN}):
        told = await post(bench, body, query="dry_run=true")

        assert (told.status, told.error["details"]["fields"][0]["field"]) == (422, "dry_run")


async def test_an_empty_list_and_one_that_is_too_large_are_refused(workshop: Workshop, bench: Bench) -> None:
    empty = await post(bench, {"upload_id": await uploaded(workshop, bench, b"\n")})
    upload_id = await uploaded(workshop, bench, b"")
    await asyncio.to_thread(os.truncate, workshop.folder / "files" / upload_file(upload_id), UPLOAD_BYTES_MAX + 1)
    large = await post(bench, {"upload_id": upload_id})

    assert (empty.status, large.status, large.error["details"]["bound"]) == (422, 413, UPLOAD_BYTES_MAX)


async def test_a_list_that_can_t_be_read_in_time_may_be_started_again(workshop: Workshop) -> None:
    bench = workshop.bench(request_deadline_ms=600)
    upload_id = await uploaded(workshop, bench, list_of("a"))
    files: Any = workshop.store.files
    part, is_slow = files.part, asyncio.Event()

    async def slow_part(*arguments: Any, **named: Any) -> bytes:
        await is_slow.wait()
        content: bytes = await part(*arguments, **named)
        return content

    files.part = slow_part
    late = await post(bench, {"upload_id": upload_id})
    is_slow.set()
    again = await post(bench, {"upload_id": upload_id})

    assert (late.status, late.error["code"], late.error["retryable"]) == (503, "store_unavailable", True)
    assert workshop.messages.sent == [(again.said["job_id"], 0)]


async def test_a_list_that_takes_several_starts_is_read_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is time for one part a start. A list that takes the place of a half-read one is read from its beginning."""
    monkeypatch.setattr(uploads, "UPLOAD_PART_BYTES", 4_000)
    bench = workshop.bench(request_deadline_ms=HAND_OVER_MS)
    files: Any = workshop.store.files
    part, read = files.part, []

    async def noted_part(name: str, **named: Any) -> bytes:
        read.append(named["first"])
        content: bytes = await part(name, **named)
        return content

    files.part = noted_part
    texts = [f"Number {n}." for n in range(420)]
    upload_id = await uploaded(workshop, bench, b"\xef\xbb\xbf" + list_of(*(text.upper() for text in texts)))
    first = await post(bench, {"upload_id": upload_id})
    await files.put(upload_file(upload_id), list_of(*texts))
    read.clear()
    answers = [first]
    while answers[-1].status == 503:
        answers.append(await post(bench, {"upload_id": upload_id}))
    await workshop.slice(upload_id)
    results = await workshop.results(upload_id)

    assert [answer.status for answer in answers] == [503, 503, 503, 503, 202]
    assert all(answer.error["retryable"] for answer in answers[:-1])
    assert read == sorted(set(read))
    assert [(await workshop.audio(result)).decode() for result in results] == texts


async def test_a_list_that_changes_while_it_is_read_is_read_again(workshop: Workshop) -> None:
    files: Any = workshop.store.files
    await files.put("jobs/x/upload.jsonl", list_of("a"))
    before = await files.stored("jobs/x/upload.jsonl")
    await files.put("jobs/x/upload.jsonl", list_of("b"))

    with pytest.raises(StoreError, match="uploaded anew"):
        await files.part("jobs/x/upload.jsonl", of=before, first=0, count=3)


async def test_a_file_that_comes_in_pieces_is_kept_whole_or_not_at_all(workshop: Workshop) -> None:
    files: Any = workshop.store.files
    name = "jobs/x/upload.jsonl"

    async def broken_off() -> AsyncIterator[bytes]:
        yield b"half"
        raise InvalidRequestError("the caller went away")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"whole "
        yield b"list"

    with pytest.raises(InvalidRequestError):
        await files.take(name, broken_off(), byte_count=None)
    assert await files.stored(name) is None
    await files.take(name, pieces(), byte_count=10)

    assert await files.get(name) == b"whole list"
    assert await asyncio.to_thread(os.listdir, workshop.folder / "files/jobs/x") == ["upload.jsonl"]
