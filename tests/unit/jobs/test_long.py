"""Long texts in jobs and batches: each segment is bought once, and each task is one file (I8, I4)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import TIMES, Workshop
from tests.support.long_texts import long_task, sentence, sentences
from volcengine_client.errors import StoreError, TextRefusedError, UpstreamUnavailableError, VolcengineError
from volcengine_client.limits import DEFAULT_TIMES
from volcengine_client.models import TaskItem
from volcengine_client.speech.login import Login
from volcengine_client.speech.speech import Word


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _told(*tasks: TaskItem) -> list[dict[str, Any]]:
    return [{"text": task.text, "encoding": task.encoding} for task in tasks]


async def _submit(workshop: Workshop, *tasks: TaskItem) -> str:
    return await workshop.submit([], tasks=_told(*tasks))


async def _finish(workshop: Workshop, job_id: str, *, slice_ms: int = 20_000) -> int:
    """Work on a job to its end; return how many slices it took."""
    for count in range(1, 30):
        await workshop.slice(job_id, slice_ms=slice_ms)
        if (await workshop.jobs.show(job_id, after=None, limit="0"))["ended_at_ms"]:
            return count
    raise AssertionError("the job does not come to an end")


async def _heard(workshop: Workshop, job_id: str) -> list[str]:
    return [(await workshop.audio(result)).decode() for result in await workshop.results(job_id)]


# --- in jobs ----------------------------------------------------------------------------------------------------------


async def test_a_long_text_is_one_file_of_its_segments_in_order(workshop: Workshop) -> None:
    """I3."""
    short, long = TaskItem(text="0000", encoding="pcm"), long_task(60)
    job_id = await _submit(workshop, short, long, short)
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert await _heard(workshop, job_id) == [short.text, long.text, short.text]
    assert workshop.bought() == dict.fromkeys([short.text, *sentences(60)], 1)
    assert (told["state"], told["done"], told["characters_bought"]) == ("done", 3, 4 + len(long.text))
    assert [result["bought"] for result in told["results"]] == [True, True, False]
    assert told["results"][1]["duration_ms"] == round(len(long.text.encode()) / 48)


async def test_segments_that_tasks_share_are_spoken_once(workshop: Workshop) -> None:
    """I8: within a task, between tasks, and with texts that one call can speak."""
    alone, first, second = TaskItem(text=sentence(3), encoding="pcm"), long_task(6), long_task(6, first=3)
    twice = TaskItem(text=sentence(3) * 4, encoding="pcm")
    job_id = await _submit(workshop, first, alone, second, twice)
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert await _heard(workshop, job_id) == [first.text, sentence(3), second.text, twice.text]
    assert workshop.bought() == dict.fromkeys(sentences(9), 1)
    assert told["characters_bought"] == sum(map(len, sentences(9)))


async def test_a_long_text_goes_on_over_slices(workshop: Workshop) -> None:
    """A slice that finishes no task but buys segments is no standstill."""
    workshop.voice.speak_ms = 400
    job_id = await _submit(workshop, long_task(120))
    slices = await _finish(workshop, job_id, slice_ms=3_000)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert slices > 1
    assert told["characters_bought"] == len(long_task(120).text)
    assert workshop.messages.sent == [(job_id, 0)] * slices
    assert workshop.bought() == dict.fromkeys(sentences(120), 1)
    assert await _heard(workshop, job_id) == [long_task(120).text]


async def test_a_call_that_outlasts_its_slice_is_heard_out(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: it was begun when calls were short, and what it brings is paid; the worker has time left."""

    def outcome(_login: Login, task: TaskItem) -> bytes:
        if len(workshop.voice.spoken) > 30:
            workshop.voice.speak_ms = 2_500
        return task.text.encode()

    monkeypatch.setattr("tests.support.jobs.TIMES", DEFAULT_TIMES)
    workshop.voice.outcome = outcome
    job_id = await _submit(workshop, *(long_task(20, first=first) for first in range(0, 100, 20)))
    await workshop.slice(job_id, slice_ms=2_000, claim_ms=14_000)
    workshop.voice.speak_ms = 1
    workshop.voice.outcome = lambda _login, task: task.text.encode()
    await _finish(workshop, job_id)

    assert workshop.bought() == dict.fromkeys(sentences(100), 1)


async def test_after_a_sudden_end_only_what_was_in_the_air_is_bought_again(workshop: Workshop) -> None:
    """I8: the unit is the segment."""
    workshop.voice.speak_ms = 20
    job_id = await _submit(workshop, long_task(90))
    work = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: len(workshop.voice.spoken) >= 45)
    work.cancel()
    await asyncio.wait({work})
    workshop.clock.ahead_ms += 60_000  # its claim is over
    await workshop.slice(job_id)

    assert await _heard(workshop, job_id) == [long_task(90).text]
    assert sum(workshop.bought().values()) <= 90 + 10


async def test_a_failed_segment_is_the_outcome_of_its_task_alone(workshop: Workshop) -> None:
    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return TextRefusedError("unreadable") if task.text == sentence(0) else task.text.encode()

    workshop.voice.outcome = outcome
    job_id = await _submit(workshop, long_task(100), long_task(4, first=200))
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert [result["error"] and result["error"]["code"] for result in told["results"]] == ["text_refused", None]
    assert sum(workshop.bought().values()) < 40  # what was in the air, and the other task
    assert told["characters_bought"] == sum(map(len, (text for text in workshop.bought() if text != sentence(0))))


async def test_a_segment_in_passing_trouble_puts_its_task_off_and_the_rest_is_kept(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volcengine_client.speech.retry.BASE_MS", 1)
    is_out = True

    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return UpstreamUnavailableError("out") if is_out and task.text == sentence(5) else task.text.encode()

    workshop.voice.outcome = outcome
    job_id = await _submit(workshop, long_task(6))
    await workshop.slice(job_id)
    is_out = False
    await workshop.slice(job_id)

    assert await _heard(workshop, job_id) == [long_task(6).text]
    assert [workshop.bought()[text] for text in sentences(5)] == [1] * 5


async def test_segments_that_never_fit_together_are_no_reason_to_try_for_ever(workshop: Workshop) -> None:
    workshop.voice.outcome = lambda _login, task: b"odd" if task.text == sentence(1) else task.text.encode()
    job_id = await _submit(workshop, long_task(3))
    await workshop.slice(job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)

    assert told["state"] == "done"
    assert told["results"][0]["error"]["code"] == "upstream_unavailable"
    assert not told["results"][0]["error"]["retryable"]


async def test_a_file_that_is_not_joined_in_time_is_joined_by_the_next_slice(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bought again for it, and the worker ends before its claim does."""
    write = workshop.store.files.write

    async def hang(_name: str, _pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        del about
        await asyncio.get_running_loop().create_future()

    job_id = await _submit(workshop, long_task(3))
    monkeypatch.setattr(workshop.store.files, "write", hang)
    await workshop.slice(job_id, slice_ms=2_000, claim_ms=6_500)
    monkeypatch.setattr(workshop.store.files, "write", write)
    await workshop.slice(job_id)

    assert await _heard(workshop, job_id) == [long_task(3).text]
    assert workshop.bought() == dict.fromkeys(sentences(3), 1)


async def test_a_cancelled_job_waits_for_no_file_that_is_being_joined(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is free for others at once; nobody would be answered with the file."""
    joining = asyncio.Event()

    async def hang(_name: str, _pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        del about
        joining.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(workshop.store.files, "write", hang)
    monkeypatch.setattr("volcengine_gateway.jobs.worker.JOB_WATCH_MS", 10)
    job_id = await _submit(workshop, long_task(3))
    work = asyncio.create_task(workshop.slice(job_id))
    await joining.wait()
    await workshop.jobs.cancel(job_id)
    await asyncio.wait_for(work, timeout=5)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert (told["state"], told["characters_bought"]) == ("cancelled", len(long_task(3).text))


async def test_long_texts_are_joined_one_after_the_other(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait to be: so memory is bounded, and a slice that ends early has finished some of them."""
    write, writing, peak = workshop.store.files.write, 0, 0

    async def counted(name: str, pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        nonlocal writing, peak
        writing += 1
        peak = max(peak, writing)
        await write(name, pieces, about=about)
        writing -= 1

    await workshop.slice(await _submit(workshop, long_task(30)))
    monkeypatch.setattr(workshop.store.files, "write", counted)
    job_id = await _submit(workshop, *(long_task(20, first=first) for first in range(10)))
    await workshop.slice(job_id)

    assert await _heard(workshop, job_id) == [long_task(20, first=first).text for first in range(10)]
    assert (peak, sum(workshop.bought().values())) == (1, 30)


async def test_texts_of_few_segments_are_joined_beside_each_other(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, barrier = workshop.store.files.write, asyncio.Barrier(4)

    async def together(name: str, pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        await barrier.wait()
        await write(name, pieces, about=about)

    await workshop.slice(await _submit(workshop, long_task(9)))
    monkeypatch.setattr(workshop.store.files, "write", together)
    job_id = await _submit(workshop, *(long_task(2, first=first) for first in range(8)))
    await workshop.slice(job_id)

    assert await _heard(workshop, job_id) == [long_task(2, first=first).text for first in range(8)]


# --- in batches that are answered at once -----------------------------------------------------------------------------


async def test_a_long_text_is_answered_whole_and_found_again(workshop: Workshop) -> None:
    """I8."""
    body = {"tasks": _told(long_task(12), TaskItem(text="0000", encoding="pcm"))}
    first, second = [await workshop.bench().post(body) for _ in range(2)]

    for told in (first, second):
        audio = [base64.b64decode(result["audio_base64"]).decode() for result in told.said["results"]]
        assert audio == [long_task(12).text, "0000"]
    assert workshop.bought() == dict.fromkeys([*sentences(12), "0000"], 1)
    assert first.said["characters"] == {"bought": len(long_task(12).text) + 4, "saved": 0}
    assert second.said["characters"] == {"bought": 0, "saved": len(long_task(12).text) + 4}


async def test_a_text_of_which_a_part_is_known_buys_the_rest(workshop: Workshop) -> None:
    await workshop.bench().post({"tasks": _told(long_task(5))})
    told = await workshop.bench().post({"tasks": _told(long_task(8))})

    assert workshop.bought() == dict.fromkeys(sentences(8), 1)
    assert told.said["results"][0]["bought"]
    assert told.said["characters"] == {
        "bought": sum(map(len, sentences(3, first=5))),
        "saved": sum(map(len, sentences(5))),
    }


async def test_a_text_for_which_there_is_no_time_goes_on_as_a_job(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 500
    told = await workshop.bench(times=TIMES).post({"tasks": _told(long_task(100))}, remaining_ms=7_000)
    spoken_count = len(workshop.voice.spoken)
    job_id = told.said["job"]["job_id"]
    workshop.voice.speak_ms = 1
    await _finish(workshop, job_id)

    assert [result["pending"] for result in told.said["results"]] == [True]
    assert 0 < spoken_count < 100
    assert workshop.bought() == dict.fromkeys(sentences(100), 1)
    assert await _heard(workshop, job_id) == [long_task(100).text]


async def test_a_text_for_which_the_answer_has_no_room_has_an_address(workshop: Workshop) -> None:
    bench = workshop.bench(answer_bytes_max=20_000)
    told = await bench.post({"tasks": _told(long_task(30))})
    [result] = told.said["results"]

    assert (await workshop.audio(result)).decode() == long_task(30).text
    assert len(told.body) <= 20_000


async def test_a_text_whose_segments_can_not_be_kept_is_an_error(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: never silence."""

    async def refuse(_name: str, _content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        del about
        raise StoreError("full")

    monkeypatch.setattr(workshop.store.files, "put", refuse)
    told = await workshop.bench().post({"tasks": _told(long_task(3))})

    assert told.status in {200, 503}
    results = told.said["results"] if told.status == 200 else told.error["details"]["results"]
    assert results[0]["error"]["code"] == "store_unavailable"


async def test_a_refused_segment_refuses_its_text_and_nobody_waits_for_it(workshop: Workshop) -> None:
    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return TextRefusedError("unreadable") if task.text == sentence(2) else task.text.encode()

    workshop.voice.outcome = outcome
    told = await workshop.bench().post({"tasks": _told(long_task(4), TaskItem(text="0000", encoding="pcm"))})

    assert [result["error"] and result["error"]["code"] for result in told.said["results"]] == ["text_refused", None]
    assert told.said["job"] is None


# --- subtitles --------------------------------------------------------------------------------------------------------

SAMPLES_MS = 48  # bytes of pcm a millisecond


def _cues(subtitles: str) -> list[tuple[str, int, int]]:
    return [(cue["text"], cue["start_ms"], cue["end_ms"]) for cue in json.loads(subtitles)["cues"]]


def _speech_ms(texts: list[str]) -> int:
    return round(sum(len(text.encode()) for text in texts) / SAMPLES_MS)


@pytest.fixture
def told_by_words(workshop: Workshop) -> Workshop:
    """A voice that says when each half of a sentence is heard, and how long it really takes."""
    workshop.voice.words = lambda task: (Word(task.text[:4], 2, 4), Word(task.text[4:-1], 5, 20))
    workshop.voice.duration_ms = lambda audio: round(len(audio) / SAMPLES_MS)
    return workshop


async def test_subtitles_follow_the_words_over_joined_segments(told_by_words: Workshop) -> None:
    """Where each segment begins is that of the joined file, to the millisecond."""
    task = {**_told(long_task(3))[0], "subtitles": "json"}
    told = await told_by_words.bench().post({"tasks": [task]})
    job_id = await told_by_words.submit([], tasks=[task])
    await told_by_words.slice(job_id)
    [answered], [result] = told.said["results"], await told_by_words.results(job_id)
    name = str(result["subtitles_url"]).removeprefix("/audio/").partition("?")[0]
    fetched = (await told_by_words.store.files.get(name) or b"").decode()

    begins = [_speech_ms(sentences(number)) for number in range(3)]
    cues = _cues(answered["subtitles"])
    assert "".join(text for text, _, _ in cues) == long_task(3).text
    assert [start - 2 in begins for text, start, _ in cues if text[:4].isdecimal()] == [True] * 3
    assert max(end for _, _, end in cues) == begins[2] + 20
    assert fetched == answered["subtitles"]
    assert told_by_words.bought() == dict.fromkeys(sentences(3), 1)


async def test_subtitles_that_are_wanted_later_buy_nothing(told_by_words: Workshop) -> None:
    """I8: then the sentences are laid evenly over the segments."""
    tasks = _told(TaskItem(text="Two words.", encoding="pcm"), long_task(2))
    await told_by_words.bench().post({"tasks": tasks})
    told = await told_by_words.bench().post({"tasks": [{**task, "subtitles": "srt"} for task in tasks]})
    short, long = told.said["results"]

    assert set(told_by_words.bought().values()) == {1}
    assert short["subtitles"].splitlines()[2] == "Two words."
    assert long["subtitles"].count("-->") > 10
    assert not long["bought"]


async def test_subtitles_for_which_the_answer_has_no_room_have_an_address(told_by_words: Workshop) -> None:
    task = {**_told(long_task(30))[0], "subtitles": "vtt"}
    told = await told_by_words.bench(answer_bytes_max=20_000).post({"tasks": [task]})
    [result] = told.said["results"]

    assert "subtitles" not in result
    name = str(result["subtitles_url"]).removeprefix("/audio/").partition("?")[0]
    assert (await told_by_words.store.files.get(name) or b"").startswith(b"WEBVTT")
    assert len(told.body) <= 20_000


async def test_a_task_that_wants_no_subtitles_has_none(workshop: Workshop) -> None:
    told = await workshop.bench().post({"tasks": _told(TaskItem(text="0000", encoding="pcm"))})

    assert not {"subtitles", "subtitles_url"} & told.said["results"][0].keys()


async def test_subtitles_of_a_job_are_made_by_whichever_slice_ends_its_task(told_by_words: Workshop) -> None:
    """Also when a batch had spoken all of it but the subtitles."""
    told_by_words.voice.speak_ms = 500
    tasks = [{**task, "subtitles": "srt"} for task in _told(TaskItem(text="0000", encoding="pcm"), long_task(90))]
    told = await told_by_words.bench(times=TIMES).post({"tasks": tasks}, remaining_ms=7_000)
    told_by_words.voice.speak_ms = 1
    job_id = told.said["job"]["job_id"]
    await _finish(told_by_words, job_id)
    results = await told_by_words.results(job_id)

    assert [bool(result["subtitles_url"]) for result in results] == [True, True]
    assert set(told_by_words.bought().values()) == {1}


async def test_subtitles_that_were_made_once_stay_as_they_were(told_by_words: Workshop) -> None:
    """Also where only the whole file is looked at: what they were made of may be gone."""
    tasks = [{**_told(long_task(3))[0], "subtitles": "json"}]
    first = await told_by_words.bench().post({"tasks": tasks}, idempotency_key="a-key-of-the-caller")
    for file in (told_by_words.folder / "files" / "speech").iterdir():
        if file.name.endswith((".starts", ".words")):
            file.unlink()
    second = await told_by_words.bench().post({"tasks": tasks})

    assert second.said["results"][0]["subtitles"] == first.said["results"][0]["subtitles"]


async def test_what_is_kept_of_a_long_text_is_found_as_far_as_there_was_time_to_look(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store is no reason to buy what is known already."""
    await workshop.bench().post({"tasks": _told(long_task(20))})
    about, looked = workshop.store.files.about, 0

    async def slow(name: str) -> Mapping[str, str] | None:
        nonlocal looked
        looked += 1
        if looked > 11:
            await asyncio.get_running_loop().create_future()
        return await about(name)

    monkeypatch.setattr(workshop.store.files, "about", slow)
    monkeypatch.setattr("volcengine_gateway.jobs.once.FIND_MAX_MS", 500)
    told = await workshop.bench().post({"tasks": _told(long_task(21))})

    assert told.said["results"][0]["error"] is None
    assert sum(workshop.bought().values()) == 20 + 11
