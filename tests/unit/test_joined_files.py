"""Files joined to one track with chapters, as PyAV, which is ffmpeg, reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.command_line import CommandLine, audio_in, write_tasks
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread
from volcengine_client import Chapter, InvalidRequestError, join_files
from volcengine_client.speech.audio import duration_ms
from volcengine_client.speech.chapters import id3_of
from volcengine_client.speech.mp3 import frames_of
from volcengine_client.speech.wav import wav_header

LIMIT = 2
VOICE = "BV001_streaming"
TEXTS = ["This is the first chapter.", "The second one is a little longer than the first.", "The end."]
MARKS = "Mr. = ; # \\ 第三章"


def spoken(folder: Path, encoding: str, ending: str) -> list[Path]:
    paths = [folder / f"{n}.{ending}" for n in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS, strict=True):
        path.write_bytes(audio_of(Wishes(text, VOICE, encoding)).file)
    return paths


def chapters_in(path: Path, *, form: str | None = None) -> list[tuple[str, int, int]]:
    """Return title, start and end in milliseconds, as ffmpeg reads them."""
    with av.open(str(path), format=form) as container:
        return [_chapter(one) for one in container.chapters()]


def _chapter(told: Any) -> tuple[str, int, int]:
    scale = 1_000 * told["time_base"]
    return told["metadata"]["title"], round(told["start"] * scale), round(told["end"] * scale)


def decoded_ms(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(1_000 * frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.mark.parametrize(("encoding", "ending"), [("mp3", "mp3"), ("wav", "wav"), ("ogg_opus", "opus")])
def test_files_become_one_that_plays_as_long_and_has_a_chapter_for_each(
    tmp_path: Path, encoding: str, ending: str
) -> None:
    paths, book = spoken(tmp_path, encoding, ending), tmp_path / f"book.{ending}"
    chapters = join_files(paths, book, titles=["One", "Two", MARKS])

    lengths = [duration_ms(path.read_bytes(), encoding, None) for path in paths]
    told = [(one.title, one.start_ms, one.end_ms) for one in chapters]
    assert [title for title, _, _ in told] == ["One", "Two", MARKS]
    assert [end - start for _, start, end in told] == pytest.approx(lengths, abs=60)
    assert decoded_ms(book) == pytest.approx(chapters[-1].end_ms, abs=60)
    assert chapters_in(tmp_path / "book.ffmetadata", form="ffmetadata") == told
    if encoding == "mp3":
        assert chapters_in(book) == told
        assert duration_ms(book.read_bytes(), "mp3", None) == chapters[-1].end_ms


def test_chapters_are_called_as_their_files_unless_they_have_titles(tmp_path: Path) -> None:
    chapters = join_files(spoken(tmp_path, "mp3", "mp3"), tmp_path / "book.mp3")

    assert [chapter.title for chapter in chapters] == ["0", "1", "2"]


def test_more_chapters_than_one_table_of_contents_holds_are_in_several() -> None:
    tag = id3_of([Chapter(f"Chapter {n}", n * 1_000, n * 1_000 + 1_000) for n in range(600)])

    assert (tag.count(b"CHAP"), tag.count(b"CTOC")) == (600, 1 + 3)
    assert list(frames_of(tag)) == []


@pytest.mark.parametrize("form", ["srt", "vtt", "json"])
def test_subtitles_go_with_their_chapters(tmp_path: Path, form: str) -> None:
    paths, sides = spoken(tmp_path, "wav", "wav"), [tmp_path / f"{n}.{form}" for n in (0, 2)]
    cue, words = {"text": "A & <b>.", "start_ms": 100, "end_ms": 90_000}, [{"text": "A", "start_ms": 1, "end_ms": 2}]
    for side in sides:
        side.write_text(
            {
                "srt": "1\n00:00:00,100 --> 00:01:30,000\nA & <b>.\n",
                "vtt": "WEBVTT\n\n00:00:00.100 --> 00:01:30.000\nA &amp; &lt;b&gt;.\n",
                "json": json.dumps({"duration_ms": 90_000, "cues": [cue], "words": words}),
            }[form],
            "utf-8",
        )
    chapters = join_files(paths, tmp_path / "book.wav", subtitles=[sides[0], None, sides[1]])

    told = (tmp_path / f"book.{form}").read_text("utf-8")
    if form == "json":
        last = chapters[2]
        assert [one["start_ms"] for one in json.loads(told)["cues"]] == [100, last.start_ms + 100]
        assert json.loads(told)["cues"][1]["end_ms"] == json.loads(told)["duration_ms"] == last.end_ms
        assert [one["start_ms"] for one in json.loads(told)["words"]] == [1, last.start_ms + 1]
    else:
        assert told.count("-->") == 2
        assert told.count("A &amp; &lt;b&gt;." if form == "vtt" else "A & <b>.") == 2


def test_what_does_not_fit_together_leaves_what_was_there(tmp_path: Path) -> None:
    paths, book = spoken(tmp_path, "wav", "wav"), tmp_path / "book.wav"
    book.write_text("before")
    paths[1].write_bytes(wav_header(16_000, 8_000) + bytes(16_000))
    with pytest.raises(ValueError, match="rate changes"):
        join_files(paths, book)
    with pytest.raises(InvalidRequestError):
        join_files(paths, tmp_path / "book.flac")

    assert book.read_text() == "before"
    assert not (tmp_path / "book.ffmetadata").exists()


# --- volcengine-tts batch --join ----------------------------------------------------------


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
            "VOLCENGINE_TTS_CONCURRENCY": str(LIMIT),
            "VOLCENGINE_TTS_ENDPOINT": upstream.url,
        }
    )


def test_a_batch_becomes_one_track_with_chapters_and_subtitles(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(
        tmp_path / "tasks.jsonl",
        [
            {"text": TEXTS[0], "task_id": "Chapter 1"},
            {"text": TEXTS[1], "output_filename": "two.mp3"},
            {"text": TEXTS[0]},
        ],
    )
    out, book = tmp_path / "out", tmp_path / "book.mp3"
    ended = line.run("batch", tasks, "-o", out, "--join", book, "--subtitles", "srt")
    again = line.run("batch", tasks, "-o", out, "--join", book, "--subtitles", "srt")

    assert (ended.code, again.code) == (0, 0), ended.said
    assert "book.mp3" in ended.out
    assert "3 chapters" in ended.out
    assert [title for title, _, _ in chapters_in(book)] == ["Chapter 1", "two", "task_0003"]
    assert (tmp_path / "book.srt").read_text("utf-8").count("-->") == 3
    assert (tmp_path / "book.ffmetadata").exists()
    assert len(audio_in(out)) == 6


def test_a_failed_task_leaves_no_joined_file(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "One."}, {"text": "Two.", "voice_type": "no_voice"}])
    ended = line.run("batch", tasks, "-o", tmp_path / "out", "--join", tmp_path / "book.mp3")

    assert ended.code == 1
    assert "book.mp3 was not written" in ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"tasks.jsonl", "out"}


@pytest.mark.parametrize(
    ("tasks", "book", "told"),
    [
        ([{}], "book.wav", "can't be joined of mp3"),
        ([{}], "book", "can't be joined of mp3"),
        ([{}, {"encoding": "wav"}], "book.mp3", "can't be joined of mp3 and wav"),
        ([{}, {"sample_rate": 8_000}], "book.mp3", "several sample rates"),
        ([{"subtitles": "srt"}, {"subtitles": "vtt"}], "book.mp3", "several forms of subtitles"),
        ([{}], "none/book.mp3", "there is no folder none"),
        ([{"task_id": "book"}], "out/BOOK.mp3", "take another"),
        ([{"task_id": "book", "subtitles": "srt"}, {"task_id": "x"}], "out/x.mp3", "take another"),
    ],
)
def test_what_can_not_be_joined_is_told_before_anything_is_bought(
    line: CommandLine,
    upstream: Upstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tasks: list[dict[str, Any]],
    book: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"Number {n}.", **task} for n, task in enumerate(tasks)])
    ended = line.run("batch", listed, "-o", "out", "--join", book)

    assert ended.code == 2
    assert told in ended.err
    assert upstream.gauge(APP_ID).bought == 0
