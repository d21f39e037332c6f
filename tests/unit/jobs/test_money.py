"""What would cost money twice, or never end: long texts, lost replies, and a gateway that was deployed meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from tests.support.gateway import ADMIN_KEY, event
from tests.support.jobs import TIMES, Workshop
from tests.support.long_texts import long_task
from volcengine_client.errors import InvalidRequestError, StoreError
from volcengine_client.models import BatchRequest, JobRequest
from volcengine_client.speech.speech import Word
from volcengine_gateway.jobs.store import Turn
from volcengine_gateway.jobs.turn import Same

SSML = "<speak>" + "".join(f"<s>sentence number {number:02} of the text</s>" for number in range(20)) + "</speak>"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _long(count: int, **fields: Any) -> dict[str, Any]:
    return {"tasks": [{"text": long_task(count).text, "encoding": "pcm", **fields}]}


# --- long texts -------------------------------------------------------------------------------------------------------


def _even(text: str) -> bytes:
    return text.encode() + b" " * (len(text.encode()) % 2)


async def test_ssml_whose_segments_are_billed_with_more_tags_than_the_whole_is_spoken_in_one_slice(
    workshop: Workshop,
) -> None:
    workshop.voice.outcome = lambda _login, task: _even(task.text)
    tasks = [{"text": SSML, "text_type": "ssml", "encoding": "pcm"}, {"text": "0000", "encoding": "pcm"}]
    job_id = await workshop.submit([], tasks=tasks)
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert (told["state"], told["done"]) == ("done", 2)
    assert told["characters_bought"] == sum(map(len, workshop.bought()))


async def test_ssml_is_answered_estimated_and_handed_over_without_negative_savings(workshop: Workshop) -> None:
    workshop.voice.outcome = lambda _login, task: _even(task.text)
    body = {"tasks": [{"text": SSML, "text_type": "ssml", "encoding": "pcm"}, *_long(60)["tasks"]]}
    asked = event("POST", "/generate-batch", body=json.dumps(body), admin_key=ADMIN_KEY)
    estimate = await workshop.bench().ask({**asked, "rawQueryString": "dry_run=true"})
    workshop.voice.speak_ms = 500
    told = await workshop.bench(times=TIMES).post(body, remaining_ms=7_000)

    assert estimate.said["characters"]["saved"] == 0
    assert told.status == 200
    assert told.said["characters"]["saved"] == 0
    assert [result["pending"] for result in told.said["results"]] == [False, True]


async def test_subtitles_of_a_text_that_is_found_whole_keep_to_its_segments(tmp_path: Path) -> None:
    known, new = Workshop(tmp_path / "known"), Workshop(tmp_path / "new")
    for workshop in (known, new):
        workshop.voice.words = lambda task: (Word(task.text[:4], 2, 4), Word(task.text[4:-1], 5, 20))
        workshop.voice.duration_ms = lambda audio: round(len(audio) / 48)
    await known.bench().post(_long(3, subtitles="json"))
    later, first = [await workshop.bench().post(_long(3, subtitles="vtt")) for workshop in (known, new)]

    assert later.said["results"][0]["subtitles"] == first.said["results"][0]["subtitles"]


async def test_what_is_found_in_time_is_not_bought_although_something_else_is_not_told(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: S3 refuses to say of one file whether it is there."""
    body = {"tasks": [{"text": f"text {number}"} for number in range(30)]}
    await workshop.bench().post(body)
    about, refused = workshop.store.files.about, list[str]()

    async def throttled(name: str) -> Mapping[str, str] | None:
        if not refused or name in refused:
            refused.append(name)
            raise StoreError("SlowDown")
        return await about(name)

    monkeypatch.setattr(workshop.store.files, "about", throttled)
    await workshop.bench().post({**body, "app": "another"})

    assert sorted(workshop.bought().values()) == [1] * 29 + [2]


# --- the same request -------------------------------------------------------------------------------------------------


class LaterRequest(BatchRequest):
    """A batch as a later version may know it."""

    politeness: Literal["plain", "formal"] = "plain"
    cheerful: Annotated[bool | None, Field()] = None


@pytest.mark.parametrize("key", ["one", None])
def test_a_retry_after_a_deployment_that_knows_further_fields_is_the_same_request(key: str | None) -> None:
    said = {"tasks": [{"text": "a", "speed": 1.5}], "app": "x"}
    now, later = [
        Same.of(known.model_validate(said), route="generate-batch", account="server", key=b"k", idempotency_key=key)
        for known in (BatchRequest, LaterRequest)
    ]

    assert now == later


async def test_a_job_whose_acceptance_was_not_told_is_found_by_its_key(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: 1. it is there and its message sent. 2. the process ends. 3. the caller asks again, after its time."""
    keyring, turns = await workshop.keys.keyring(), workshop.store.turns
    request = JobRequest.model_validate({"tasks": [{"text": "a"}]})

    async def submit() -> str:
        told = await workshop.jobs.submit(request, keyring=keyring, shown_admin_key=ADMIN_KEY, idempotency_key="k")
        return str(told["job_id"])

    send, is_ended = workshop.messages.send, False
    end = turns.end

    async def sent_then_ended(message: str, *, delay_ms: int = 0) -> None:
        nonlocal is_ended
        await send(message, delay_ms=delay_ms)
        is_ended = True
        raise SystemError("the end of the process")

    async def nothing_after_the_end(*said: Any) -> None:
        if not is_ended:
            await end(*said)

    with monkeypatch.context() as patched:
        patched.setattr(workshop.messages, "send", sent_then_ended)
        patched.setattr(turns, "end", nothing_after_the_end)
        with pytest.raises(SystemError):
            await submit()
    [(first, _)] = workshop.messages.sent
    workshop.clock.ahead_ms += 60_000

    assert await submit() == first


async def test_a_job_that_was_kept_and_never_sent_is_sent_when_it_is_asked_for_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ended between the two."""
    keyring = await workshop.keys.keyring()
    request = JobRequest.model_validate({"tasks": [{"text": "a"}]})

    async def submit() -> str:
        told = await workshop.jobs.submit(request, keyring=keyring, shown_admin_key=ADMIN_KEY, idempotency_key="k")
        return str(told["job_id"])

    end, is_ended = workshop.store.turns.end, False

    async def ended(*_: Any, **__: Any) -> None:
        nonlocal is_ended
        is_ended = True
        raise SystemError("the end of the process")

    async def nothing_after_the_end(*said: Any) -> None:
        if not is_ended:
            await end(*said)

    with monkeypatch.context() as patched:
        patched.setattr(workshop.messages, "send", ended)
        patched.setattr(workshop.store.turns, "end", nothing_after_the_end)
        with pytest.raises(SystemError):
            await submit()
    workshop.clock.ahead_ms += 60_000
    job_id = await submit()

    assert workshop.messages.sent == [(job_id, 0)]
    assert len((await workshop.jobs.list(account=None, app=None, state=None, after=None))["jobs"]) == 1


async def test_a_job_that_another_was_told_of_is_not_taken_back_when_the_first_can_t_send_its_message(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. it is there. 2. an equal request finds it, and a worker begins. 3. the first one's queue gave no answer."""
    keyring = await workshop.keys.keyring()
    request = JobRequest.model_validate({"tasks": [{"text": "a"}]})

    async def submit() -> str:
        told = await workshop.jobs.submit(request, keyring=keyring, shown_admin_key=ADMIN_KEY, idempotency_key="k")
        return str(told["job_id"])

    send, sent = workshop.messages.send, list[str]()

    async def refused_once(message: str, *, delay_ms: int = 0) -> None:
        sent.append(message)
        if len(sent) > 1:
            await send(message, delay_ms=delay_ms)
            return
        await workshop.slice(await submit())
        raise StoreError("no answer in time")

    monkeypatch.setattr(workshop.messages, "send", refused_once)
    job_id = await submit()

    assert (await workshop.jobs.show(job_id, after=None, limit="0"))["state"] == "done"
    assert set(sent) == {job_id}


async def test_a_caller_who_is_told_to_ask_again_has_no_job_that_buys_meanwhile(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: the message is sent, and the reply comes too late."""
    workshop.voice.speak_ms = 300
    send = workshop.messages.send

    async def sent_without_reply(message: str, *, delay_ms: int = 0) -> None:
        await send(message, delay_ms=delay_ms)
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(workshop.messages, "send", sent_without_reply)
    body = {"tasks": [{"text": f"text {number}"} for number in range(60)]}
    told = await workshop.bench(times=TIMES).post(body, remaining_ms=4_500)
    [(job_id, _)] = workshop.messages.sent
    spoken_count = len(workshop.voice.spoken)
    await workshop.slice(job_id)

    assert told.said["job"] is None
    assert any(result["error"] for result in told.said["results"])
    assert len(workshop.voice.spoken) == spoken_count


async def test_an_answer_leaves_in_time_though_its_end_can_not_be_put_down(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: what was bought is in it; a turn ends by itself."""

    async def hang(_name: str, _turn: Turn) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(workshop.store.turns, "end", hang)
    async with asyncio.timeout(5):
        told = await workshop.bench(times=TIMES).post({"tasks": [{"text": "a"}]}, remaining_ms=4_500)

    assert told.status == 200


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["account", "app"])
async def test_a_name_that_no_table_takes_is_the_callers_mistake(workshop: Workshop, field: str) -> None:
    asked: dict[str, Any] = {"account": None, "app": None, "state": None, "after": None, field: "a" * 3_000}
    with pytest.raises(InvalidRequestError, match=field):
        await workshop.jobs.list(**asked)
