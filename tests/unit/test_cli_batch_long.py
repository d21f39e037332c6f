"""`volcengine-tts batch` with texts of many calls and with subtitles, without a gateway and through one."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.command_line import CommandLine, audio_in, manifest_in, write_tasks
from tests.support.gateway import ADMIN_KEY
from tests.support.job_door import JobDoor, Refusal, opened
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread
from volcengine_client import GatewayClient, TaskItem
from volcengine_client.segments import segments_of_task
from volcengine_client.speech.join import joined

LIMIT = 2
VOICE = "BV001_streaming"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=30) as served:
        yield served
        assert served.gauge(APP_ID).peak <= LIMIT


@pytest.fixture
def line(upstream: Upstream) -> Iterator[CommandLine]:
    commands = CommandLine(
        {
            "VOLCENGINE_TTS_APPID": APP_ID,
            "VOLCENGINE_TTS_ACCESS_KEY": ACCESS_KEY,
            "VOLCENGINE_TTS_CONCURRENCY": str(LIMIT),
            "VOLCENGINE_TTS_ENDPOINT": upstream.url,
        }
    )
    yield commands
    commands.end()


def chapter(name: str, sentence_count: int) -> str:
    return " ".join(f"This is sentence number {n} of the chapter {name}." for n in range(sentence_count))


def segments(text: str) -> list[str]:
    return [segment.text for segment in segments_of_task(TaskItem(text=text))]


def spoken(text: str, encoding: str = "mp3") -> bytes:
    return joined([audio_of(Wishes(one, VOICE, encoding)).file for one in segments(text)], encoding, None)[0]


def bought(upstream: Upstream) -> int:
    return upstream.gauge(APP_ID).bought


# --- long texts ---------------------------------------------------------------------------


def test_a_long_text_is_one_file_and_leaves_nothing_else(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    texts = [chapter("one", 60), "Short.", chapter("two", 50)]
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": text} for text in texts])
    ended = line.run("batch", tasks, "-o", tmp_path / "out")

    assert ended.code == 0, ended.said
    assert f"3 spoken ({sum(len(one) for text in texts for one in segments(text)):,} characters)" in ended.out
    assert audio_in(tmp_path / "out") == {f"task_{n:04}.mp3": spoken(text) for n, text in enumerate(texts, start=1)}
    assert bought(upstream) == sum(len(segments(text)) for text in texts)
    assert not list((tmp_path / "out").glob(".*"))
    starts = [entry.get("starts_ms") for entry in manifest_in(tmp_path / "out")]
    assert [len(start or ()) for start in starts] == [len(segments(texts[0])), 0, len(segments(texts[2]))]


def test_an_estimate_counts_the_calls_of_long_texts(line: CommandLine, tmp_path: Path) -> None:
    text = chapter("one", 60)
    ended = line.run("batch", write_tasks(tmp_path / "t.jsonl", [{"text": text}, {"text": text}]), "--estimate")

    figures = {name: figure.strip() for name, figure in (row.strip().split(None, 1) for row in ended.out.splitlines())}
    assert (figures["calls"], figures["saved"]) == (str(len(segments(text))), "1")


def test_a_long_text_that_fails_is_one_failure(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks = [{"text": chapter("one", 60), "voice_type": "no_voice"}, {"text": "Good."}]
    ended = line.run("batch", write_tasks(tmp_path / "tasks.jsonl", tasks), "-o", tmp_path / "out")

    assert ended.code == 1
    assert "1 spoken (5 characters), 1 failed" in ended.out
    assert [entry["error"] and entry["error"]["code"] for entry in manifest_in(tmp_path / "out")] == [
        "voice_not_granted",
        None,
    ]
    assert bought(upstream) == 1


def until_kept(folder: Path, count: int) -> None:
    """Wait until so many segments are kept in a folder."""
    deadline = time.monotonic() + 15
    while len(list(folder.glob(".segments/*.mp3"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_bought_of_an_unfinished_text_is_not_bought_again(
    line: CommandLine, upstream: Upstream, tmp_path: Path, how: signal.Signals
) -> None:
    text, out = chapter("one", 250), tmp_path / "out"
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": text, "subtitles": "json"}])
    process = line.start("batch", tasks, "-o", out)
    until_kept(out, 4)
    process.send_signal(how)
    process.communicate(timeout=15)
    bought_before = bought(upstream)
    assert len(segments(text)) > bought_before
    assert manifest_in(out) == []
    ended = line.run("batch", tasks, "-o", out)

    lost = 2 * LIMIT if how is signal.SIGKILL else 0
    assert ended.code == 0, ended.said
    assert len(segments(text)) <= bought(upstream) <= len(segments(text)) + lost
    assert audio_in(out)["task_0001.mp3"] == spoken(text)
    assert len(json.loads((out / "task_0001.json").read_text("utf-8"))["words"]) > 250
    assert not list(out.glob(".*"))


# --- subtitles ----------------------------------------------------------------------------


def test_subtitles_lie_beside_the_audio_and_stand_in_the_manifest(line: CommandLine, tmp_path: Path) -> None:
    table = tmp_path / "tasks.csv"
    table.write_text("task_id,text,subtitles,output_filename\na,One.,,\na,Two.,vtt,\nb,Three.,,x.wav\nc,Four.,,x.mp3\n")
    out = tmp_path / "out"
    ended = line.run("batch", table, "-o", out, "--subtitles", "srt")

    assert ended.code == 0, ended.said
    assert [(entry["file"], entry["subtitles"]) for entry in manifest_in(out)] == [
        ("a.mp3", "a.srt"),
        ("a-2.mp3", "a-2.vtt"),
        ("x.wav", "x.srt"),
        ("x.mp3", "x.mp3.srt"),
    ]
    assert (out / "a.srt").read_text("utf-8").endswith("\nOne.\n")
    assert (out / "a-2.vtt").read_text("utf-8").startswith("WEBVTT\n")
    assert len(audio_in(out)) == 8


def test_one_sound_in_several_forms_is_bought_once(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    text = chapter("one", 50)
    tasks = [{"text": text, "subtitles": form} for form in ("srt", "vtt", None)]
    line.run("batch", write_tasks(tmp_path / "tasks.jsonl", tasks), "-o", tmp_path / "out")

    assert bought(upstream) == len(segments(text))
    assert audio_in(tmp_path / "out").keys() == {
        *(f"task_000{n}.mp3" for n in (1, 2, 3)),
        "task_0001.srt",
        "task_0002.vtt",
    }


def test_subtitles_that_are_wanted_later_are_made_of_what_is_there(
    line: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    texts, out = [chapter("one", 50), "Short."], tmp_path / "out"
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": text} for text in texts])
    line.run("batch", tasks, "-o", out)
    before = bought(upstream)
    later = line.run("batch", tasks, "-o", out, "--subtitles", "json")
    (out / "task_0001.json").unlink()
    write_tasks(tasks, [{"text": text} for text in reversed(texts)])
    again = line.run("batch", tasks, "-o", out, "--subtitles", "json")

    assert (later.code, again.code, bought(upstream)) == (0, 0, before), later.said + again.said
    assert "2 subtitled, 0 spoken" in later.out
    assert "1 there already, 1 subtitled, 0 spoken" in again.out
    short, long = manifest_in(out)
    assert (out / short["file"]).read_bytes() == spoken("Short.")
    assert (out / long["file"]).read_bytes() == spoken(texts[0])
    told = json.loads((out / long["subtitles"]).read_text("utf-8"))
    assert told["duration_ms"] == long["duration_ms"]
    assert "".join(cue["text"] for cue in told["cues"]).replace(" ", "") == texts[0].replace(" ", "")
    assert {long["starts_ms"][1]} <= {cue["start_ms"] for cue in told["cues"]}


# --- through a gateway --------------------------------------------------------------------


@pytest.fixture
def door(tmp_path: Path) -> Iterator[JobDoor]:
    with opened(JobDoor(tmp_path / "server", limit=LIMIT)) as made:
        yield made


@pytest.fixture
def there(door: JobDoor) -> CommandLine:
    return CommandLine({"VOLCENGINE_TTS_GATEWAY": door.url, "ADMIN_API_KEY": ADMIN_KEY})


def fetched(door: JobDoor, ending: str) -> int:
    return sum(path.endswith(ending) for _, path, _ in door.asked)


def test_a_gateways_subtitles_come_with_its_audio(there: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"Number {n}."} for n in range(3)]), tmp_path / "out"
    ended = there.run("batch", tasks, "-o", out, "--subtitles", "srt")
    again = there.run("batch", tasks, "-o", out, "--subtitles", "srt")

    assert (ended.code, again.code) == (0, 0), ended.said
    assert "3 there already, 0 spoken" in again.out
    assert [entry["subtitles"] for entry in manifest_in(out)] == [f"task_000{n}.srt" for n in (1, 2, 3)]
    assert (out / "task_0003.srt").read_text("utf-8") == "1\n00:00:00,000 --> 00:00:01,000\nNumber 2.\n"
    assert (fetched(door, ".mp3"), fetched(door, ".srt")) == (3, 3)


def test_missing_subtitles_are_fetched_and_nothing_is_bought_or_fetched_again(
    there: CommandLine, door: JobDoor, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"Number {n}."} for n in range(3)]), tmp_path / "out"
    there.run("batch", tasks, "-o", out)
    ended = there.run("batch", tasks, "-o", out, "--subtitles", "vtt")

    assert ended.code == 0, ended.said
    assert "3 subtitled, 0 spoken" in ended.out
    assert [entry["subtitles"] for entry in manifest_in(out)] == [f"task_000{n}.vtt" for n in (1, 2, 3)]
    assert (fetched(door, ".mp3"), fetched(door, ".vtt")) == (3, 3)
    assert sum(door.workshop.bought().values()) == 3


def test_audio_that_the_gateway_no_longer_keeps_is_not_bought_again_for_subtitles(
    there: CommandLine, door: JobDoor, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"Number {n}."} for n in range(3)]), tmp_path / "out"
    there.run("batch", tasks, "-o", out)
    for path in (tmp_path / "server").rglob("*.mp3*"):
        path.unlink()
    door.asked.clear()
    ended = there.run("batch", tasks, "-o", out, "--subtitles", "vtt")

    assert ended.code == 0, ended.said
    assert "3 subtitled, 0 spoken" in ended.out
    assert [entry["subtitles"] for entry in manifest_in(out)] == [f"task_000{n}.vtt" for n in (1, 2, 3)]
    assert sum(door.workshop.bought().values()) == 3
    assert fetched(door, ".vtt") == fetched(door, ".mp3") == 0


def test_subtitles_that_can_not_be_fetched_leave_the_audio_and_come_next_time(
    there: CommandLine, door: JobDoor, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": "One."}]), tmp_path / "out"
    there.run("batch", tasks, "-o", out)
    door.refused_path = "/audio/"
    door.refusals = [Refusal(403, "<Error>expired</Error>")]
    ended = there.run("batch", tasks, "-o", out, "--subtitles", "srt")
    again = there.run("batch", tasks, "-o", out, "--subtitles", "srt")

    assert (ended.code, again.code) == (1, 0), ended.said + again.said
    assert "1 without their subtitles" in ended.err
    assert audio_in(out).keys() == {"task_0001.mp3", "task_0001.srt"}
    assert fetched(door, ".mp3") == 1


def test_a_jobs_subtitles_are_downloaded_once(there: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    with GatewayClient(door.url, ADMIN_KEY) as client:
        tasks = [TaskItem("a", "One.", subtitles="json", encoding="wav"), TaskItem("b", "Two.")]
        job = client.submit_sync(tasks, priority="interactive")
        client.wait_sync(job.job_id)
    out = tmp_path / "out"
    first = there.run("jobs", "download", job.job_id, "-o", out)
    second = there.run("jobs", "download", job.job_id, "-o", out)
    (out / "00001-a.json").unlink()
    third = there.run("jobs", "download", job.job_id, "-o", out)

    assert (first.code, second.code, third.code) == (0, 0, 0), first.said
    assert audio_in(out).keys() == {"00001-a.wav", "00001-a.json", "00002-b.mp3"}
    assert [entry.get("subtitles") for entry in manifest_in(out)] == ["00001-a.json", None]
    assert (fetched(door, ".wav"), fetched(door, ".json")) == (1, 2)
