"""`volcengine-tts say` with texts of many calls, and with subtitles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.command_line import CommandLine
from tests.support.gateway import ADMIN_KEY
from tests.support.job_door import JobDoor, opened
from tests.support.long_texts import long_task, sentences
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread
from volcengine_client.limits import TEXT_CHARACTERS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.segments import segments_of_task
from volcengine_client.speech.join import joined

LIMIT = 2
VOICE = "BV001_streaming"
LONG = " ".join(f"This is sentence number {n} of a text of several calls." for n in range(60))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=30) as served:
        yield served
        assert served.gauge(APP_ID).peak <= LIMIT


@pytest.fixture
def line(upstream: Upstream) -> CommandLine:
    return CommandLine(
        {
            "VOLCENGINE_TTS_APPID": APP_ID,
            "VOLCENGINE_TTS_ACCESS_KEY": ACCESS_KEY,
            "VOLCENGINE_TTS_ENDPOINT": upstream.url,
            "VOLCENGINE_TTS_CONCURRENCY": str(LIMIT),
        }
    )


def segments(text: str) -> list[str]:
    return [segment.text for segment in segments_of_task(TaskItem(text=text))]


def spoken(text: str, encoding: str) -> bytes:
    return joined([audio_of(Wishes(one, VOICE, encoding)).file for one in segments(text)], encoding, None)[0]


def bought(upstream: Upstream) -> int:
    return upstream.gauge(APP_ID).bought


@pytest.mark.parametrize("encoding", ["mp3", "wav"])
def test_a_long_text_becomes_one_file(line: CommandLine, upstream: Upstream, tmp_path: Path, encoding: str) -> None:
    ended = line.run("say", LONG, "-o", tmp_path / f"a.{encoding}")

    assert ended.code == 0, ended.said
    assert (tmp_path / f"a.{encoding}").read_bytes() == spoken(LONG, encoding)
    assert bought(upstream) == len(segments(LONG)) > LIMIT


def test_subtitles_lie_beside_the_audio_in_the_form_that_their_name_says(line: CommandLine, tmp_path: Path) -> None:
    for form in ("srt", "VTT", "json"):
        ended = line.run("say", LONG, "-o", tmp_path / "a.mp3", "--subtitles", tmp_path / f"a.{form}")

        assert ended.code == 0, ended.said
    told = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert told["cues"][0]["text"].startswith("This is sentence number 0")
    assert told["cues"][-1]["end_ms"] <= told["duration_ms"]
    assert len(told["words"]) > 60
    assert (tmp_path / "a.VTT").read_text("utf-8").startswith("WEBVTT\n")
    assert (tmp_path / "a.srt").read_text("utf-8").startswith("1\n00:00:0")
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp3", "a.srt", "a.VTT", "a.json"}


def test_subtitles_may_lie_beside_a_pipe(line: CommandLine, tmp_path: Path) -> None:
    ended = line.pipe("say", "-", "-o", "-", "--subtitles", tmp_path / "a.srt", given=b"Hello.")

    assert ended.out == audio_of(Wishes("Hello.", VOICE, "mp3")).file
    assert "Hello." in (tmp_path / "a.srt").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-o", "a.mp3", "--subtitles", "-"), ".srt, .vtt or .json"),
        (("-o", "-", "--subtitles", "-"), ".srt, .vtt or .json"),
        (("-o", "a.mp3", "--subtitles", "a.txt"), ".srt, .vtt or .json"),
        (("-o", "a.srt", "--subtitles", "a.srt"), "take another"),
        (("-o", "a.mp3", "--subtitles", "none/a.srt"), "there is no folder none"),
        (("-o", "a.mp3", "--silence", "30001"), "silence_ms: "),
        (("-o", "a.mp3", "--ssml"), "text: "),
        (("-o", "a.mp3", "--language", "e n"), "language: "),
        (("-o", "a.mp3", "--model", ""), "model: "),
    ],
)
def test_what_can_not_work_is_told_before_anything_is_bought(
    line: CommandLine,
    upstream: Upstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = line.run("say", "canary-text", *arguments)

    assert ended.code == 2
    assert told in ended.err
    assert "canary-text" not in ended.said
    assert list(tmp_path.iterdir()) == []
    assert bought(upstream) == 0


def test_a_text_that_is_longer_than_any_task_is_told(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    ended = line.pipe("say", "-o", tmp_path / "a.mp3", given=b"a" * (TEXT_CHARACTERS_MAX + 1))

    assert ended.code == 2
    assert "at most 100000 characters, it has 100001" in ended.err
    assert bought(upstream) == 0


def test_ssml_language_and_silence_reach_the_upstream(line: CommandLine, tmp_path: Path) -> None:
    plain, wished = tmp_path / "plain.wav", tmp_path / "wished.wav"
    line.run("say", "Hello.", "-o", plain)
    ended = line.run("say", "Hello.", "-o", wished, "--silence", "3000", "--language", "en")
    ssml = line.run("say", "<speak>Hello.</speak>", "-o", tmp_path / "ssml.wav", "--ssml")

    assert (ended.code, ssml.code) == (0, 0), ended.said + ssml.said
    assert wished.stat().st_size > plain.stat().st_size + 100_000


def test_a_text_of_which_a_part_failed_leaves_no_file(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    ended = line.run("say", LONG, "-v", "no_voice", "-o", tmp_path / "a.mp3", "--subtitles", tmp_path / "a.srt")

    assert ended.code == 1
    assert list(tmp_path.iterdir()) == []
    assert bought(upstream) == 0


# --- through a gateway --------------------------------------------------------------------


def test_a_gateway_that_needs_longer_than_an_answer_is_waited_for(tmp_path: Path) -> None:
    """A whole book from standard input, and its subtitles, each part bought once."""
    text = "".join(sentences(40))
    with opened(JobDoor(tmp_path / "server", limit=LIMIT, request_deadline_ms=4_500)) as door:
        door.workshop.voice.speak_ms = 150
        line = CommandLine({"VOLCENGINE_TTS_GATEWAY": door.url, "ADMIN_API_KEY": ADMIN_KEY})
        ended = line.pipe("say", "-o", tmp_path / "a.pcm", "--subtitles", tmp_path / "a.srt", given=text.encode())
        was_late = any(path.startswith("/jobs/") for _, path, _ in door.asked)
        bought_counts = door.workshop.bought()

    assert ended.code == 0, ended.err
    assert was_late
    assert (tmp_path / "a.pcm").read_bytes() == text.encode()
    assert (tmp_path / "a.srt").read_text("utf-8").count("-->") >= 40
    assert len(bought_counts) == len(segments_of_task(long_task(40))) == sum(bought_counts.values())
