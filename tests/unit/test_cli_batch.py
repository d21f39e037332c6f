"""`volcengine-tts batch` without a gateway, over a real connection to the simulated upstream."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.command_line import CommandLine, audio_in, manifest_in, write_tasks
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread

LIMIT = 4
VOICE = "BV001_streaming"
SILENT = {"text": "\u200b"}  # nothing that a voice could read


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=30) as served:
        yield served
        assert served.gauge(APP_ID).peak <= LIMIT


@pytest.fixture
def line(upstream: Upstream) -> Iterator[CommandLine]:
    commands = command_line(upstream)
    yield commands
    commands.end()


def command_line(upstream: Upstream) -> CommandLine:
    return CommandLine(
        {
            "VOLCENGINE_TTS_APPID": APP_ID,
            "VOLCENGINE_TTS_ACCESS_KEY": ACCESS_KEY,
            "VOLCENGINE_TTS_CONCURRENCY": str(LIMIT),
            "VOLCENGINE_TTS_ENDPOINT": upstream.url,
        }
    )


def spoken(text: str, voice_type: str = VOICE, encoding: str = "mp3") -> bytes:
    return audio_of(Wishes(text, voice_type, encoding)).file


def bought(upstream: Upstream) -> int:
    return upstream.gauge(APP_ID).bought


# --- what is spoken ---------------------------------------------------------------------


def test_a_list_becomes_a_folder_of_audio_and_a_manifest(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(
        tmp_path / "tasks.jsonl",
        [
            {"task_id": "chapter 1", "text": "你好，世界。"},
            {"prompt": "Hello.", "encoding": "wav"},
            {"text": "Bye.", "output_filename": "end.mp3"},
        ],
    )
    ended = line.run("batch", tasks, "-o", tmp_path / "out")

    assert ended.code == 0, ended.said
    assert "3 spoken" in ended.out
    assert audio_in(tmp_path / "out") == {
        "chapter 1.mp3": spoken("你好，世界。"),
        "task_0002.wav": spoken("Hello.", encoding="wav"),
        "end.mp3": spoken("Bye."),
    }
    first, second, third = manifest_in(tmp_path / "out")
    assert [first["index"], second["index"], third["index"]] == [0, 1, 2]
    assert (first["name"], first["file"], first["voice"]) == ("chapter 1", "chapter 1.mp3", VOICE)
    assert first["duration_ms"] > 0
    assert first["error"] is None
    assert (second["name"], third["file"]) == ("task_2", "end.mp3")


def test_a_table_may_come_from_any_spreadsheet(line: CommandLine, tmp_path: Path) -> None:
    """With a byte order mark, quotes, line ends of Windows, empty cells and rows."""
    rows = '\ufefftask_id,text,speed,sample_rate\r\na,"One, two.",1.2,16000\r\n\r\nb,"Two\r\nlines.",,\r\n'
    table = tmp_path / "tasks.CSV"
    table.write_bytes(rows.encode())
    ended = line.run("batch", table, "-o", tmp_path / "out")

    assert ended.code == 0, ended.said
    assert audio_in(tmp_path / "out").keys() == {"a.mp3", "b.mp3"}


def test_a_voice_is_for_tasks_that_name_none(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "One."}, {"text": "Two.", "voice_type": VOICE}])
    line.run("batch", tasks, "-o", tmp_path / "out", "--voice", "BV002_streaming")

    assert [entry["voice"] for entry in manifest_in(tmp_path / "out")] == ["BV002_streaming", VOICE]


def test_tasks_that_sound_the_same_are_bought_once(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Same."}, {"text": "Other."}, {"text": " Same.\t"}])
    ended = line.run("batch", tasks, "-o", tmp_path / "out")

    assert "3 spoken" in ended.out
    assert bought(upstream) == 2
    assert list(audio_in(tmp_path / "out").values()).count(spoken("Same.")) == 2


def test_names_are_safe_and_unlike_each_other(line: CommandLine, tmp_path: Path) -> None:
    names = ["../../a", "a/b", "A_B", "nul", ".hidden", "名" * 128, "manifest.jsonl", "x"]
    tasks = [{"task_id": name, "text": f"{n}"} for n, name in enumerate(names)]
    tasks += [{"text": "same", "output_filename": "x.mp3"}, {"text": "more", "task_id": "manifest"}]
    ended = line.run("batch", write_tasks(tmp_path / "tasks.jsonl", tasks), "-o", tmp_path / "deep" / "out")

    assert ended.code == 0, ended.said
    files = [entry["file"] for entry in manifest_in(tmp_path / "deep" / "out")]
    assert files[1:5] == ["a_b.mp3", "A_B-2.mp3", "_nul.mp3", "hidden.mp3"]
    assert files[7:9] == ["x.mp3", "x-2.mp3"]
    assert {path.name for path in tmp_path.iterdir()} == {"tasks.jsonl", "deep"}
    assert audio_in(tmp_path / "deep" / "out").keys() == set(files)
    assert max(len(name.encode()) for name in files) <= 255


# --- what is not spoken twice -------------------------------------------------------------


def test_a_second_run_speaks_only_what_is_missing_or_has_changed(
    line: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    write_tasks(tasks, [{"text": f"Number {n}."} for n in range(5)])
    line.run("batch", tasks, "-o", out)
    again = line.run("batch", tasks, "-o", out)
    assert (again.code, bought(upstream)) == (0, 5)
    assert "5 there already, 0 spoken" in again.out

    (out / "task_0003.mp3").unlink()
    write_tasks(tasks, [{"text": "New."} if n == 1 else {"text": f"Number {n}."} for n in range(5)])
    ended = line.run("batch", tasks, "-o", out)

    assert "3 there already, 2 spoken" in ended.out
    assert bought(upstream) == 7
    assert audio_in(out) == {f"task_{n + 1:04}.mp3": spoken("New." if n == 1 else f"Number {n}.") for n in range(5)}


def test_a_line_put_before_all_others_buys_one_text(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    """Names by number move on, and the audio with them."""
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    numbers = [{"text": f"Number {n}."} for n in range(4)]
    line.run("batch", write_tasks(tasks, numbers), "-o", out)
    line.run("batch", write_tasks(tasks, [{"text": "Title."}, *numbers]), "-o", out)

    assert bought(upstream) == 5
    assert [(out / entry["file"]).read_bytes() for entry in manifest_in(out)] == [
        spoken("Title."),
        *(spoken(f"Number {n}.") for n in range(4)),
    ]


def test_equal_sounds_stay_where_they_are(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Same."}, {"text": "Same."}]), tmp_path / "out"
    line.run("batch", tasks, "-o", out)
    before = {path.name: path.stat().st_ino for path in out.glob("*.mp3")}
    (out / ".0123456789abcdef.part").write_text("left by a run that was killed")
    line.run("batch", tasks, "-o", out)

    assert {path.name: path.stat().st_ino for path in out.glob("*.mp3")} == before
    assert not list(out.glob(".*"))
    assert bought(upstream) == 1


def test_a_failed_task_is_told_and_tried_again_next_time(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    write_tasks(tasks, [{"text": "Good."}, {"text": "Bad.", "voice_type": "no_such_voice"}])
    ended = line.run("batch", tasks, "-o", out)

    assert ended.code == 1
    assert "1 failed" in ended.out
    assert "1 voice_not_granted" in ended.err
    assert audio_in(out).keys() == {"task_0001.mp3"}
    failed = manifest_in(out)[1]
    assert failed["file"] is None
    assert failed["error"]["code"] == "voice_not_granted"
    write_tasks(tasks, [{"text": "Good."}, {"text": "Bad."}])
    assert line.run("batch", tasks, "-o", out).code == 0
    assert bought(upstream) == 2


def test_a_manifest_that_was_cut_in_the_middle_of_a_line_is_read_as_far_as_it_goes(
    line: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}"} for n in range(3)]), tmp_path / "out"
    line.run("batch", tasks, "-o", out)
    manifest = out / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    line.run("batch", tasks, "-o", out)

    assert bought(upstream) == 4
    assert len(manifest_in(out)) == 3


def test_a_manifest_leads_to_no_file_outside_of_its_folder(
    line: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": "One."}]), tmp_path / "out"
    line.run("batch", tasks, "-o", out)
    (entry,) = manifest_in(out)
    (out / "manifest.jsonl").write_text(json.dumps({**entry, "file": "../tasks.jsonl"}))
    line.run("batch", tasks, "-o", out)

    assert bought(upstream) == 2


# --- what is refused before anything is bought ----------------------------------------------


def test_broken_lines_are_named_and_nothing_is_bought(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    lines = [
        '{"text": "Good."}',
        '{"text": "canary-text", "speed": 9}',
        "",
        "{broken",
        '["a list"]',
        '{"text": ""}',
        '{"text": "x", "colour": "red"}',
        json.dumps({"text": "长" * 100_001}),
    ]
    tasks.write_text("\n".join(lines), "utf-8")
    ended = line.run("batch", tasks, "-o", tmp_path / "out")

    assert ended.code == 2
    told = ended.err.splitlines()
    assert told[0].endswith("6 broken lines; nothing was bought")
    assert [one.strip().split(":")[0] for one in told[1:]] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8)]
    assert "speed" in told[1]
    assert "colour: no such field" in told[5]
    assert "canary-text" not in ended.said
    assert bought(upstream) == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (b"task_id,words\na,b\n", "line 1: the first row should name the columns"),
        (b"text,text\na,b\n", "line 1: the first row should name the columns"),
        (b"text,speed\nOne.,2\nTwo.,fast\n", "line 3: speed"),
        (b"text\nOne, two.\n", "line 2: 2 cells, but 1 columns"),
        (b'text\n"One.\nTwo.', "line 2: not CSV"),
        ("text\nOne.\nüber\n".encode("latin-1"), "line 3: not UTF-8"),
        (b"text\n", "has no tasks"),
        (b"", "has no tasks"),
        (b'text,speed\n"One\nTwo",1\nThree.,9\n', "line 4: speed"),
    ],
)
def test_a_broken_table_is_told_by_its_lines(line: CommandLine, tmp_path: Path, table: bytes, told: str) -> None:
    (tmp_path / "tasks.csv").write_bytes(table)
    ended = line.run("batch", tmp_path / "tasks.csv", "-o", tmp_path / "out")

    assert ended.code == 2
    assert told in ended.err


def test_an_estimate_buys_nothing_and_needs_no_credentials(upstream: Upstream, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Hello."}, {"text": "Hello."}, {"text": "你好。"}, SILENT])
    line = CommandLine({"VOLCENGINE_TTS_ENDPOINT": upstream.url})
    ended = line.run("batch", tasks, "-o", tmp_path / "out", "--estimate", "--concurrency", "2")

    assert ended.code == 0, ended.said
    figures = {name: figure.strip() for name, figure in (row.strip().split(None, 1) for row in ended.out.splitlines())}
    assert (figures["tasks"], figures["saved"], figures["refused"], figures["calls"]) == ("4", "1", "1", "2")
    assert figures["characters"] == "9"
    assert "2 calls at once" in figures["expected"]
    assert bought(upstream) == 0
    assert not (tmp_path / "out").exists()


def test_voices_that_nobody_knows_are_told_before_anything_is_bought(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Hello.", "voice_type": "BV01_streaming"}])
    estimated = line.run("batch", tasks, "-o", tmp_path / "out", "--estimate")
    spoken_with = line.run("batch", tasks, "-o", tmp_path / "out")

    assert (estimated.code, spoken_with.code) == (0, 1)
    for ended in (estimated, spoken_with):
        assert "warning: unknown voice BV01_streaming; did you mean BV001_streaming?" in ended.err


def test_missing_and_rejected_credentials_are_to_be_corrected(upstream: Upstream, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Hello."}])
    missing = CommandLine({}).run("batch", tasks, "-o", tmp_path / "out")
    wrong = {**command_line(upstream).environment, "VOLCENGINE_TTS_ACCESS_KEY": "canary-wrong-key"}
    rejected = CommandLine(wrong).run("batch", tasks, "-o", tmp_path / "out")

    assert (missing.code, rejected.code) == (2, 2)
    assert "VOLCENGINE_TTS_APPID" in missing.err
    assert "rejected" in rejected.err
    assert "canary-wrong-key" not in rejected.said


def test_credentials_may_stand_in_a_file(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = command_line(upstream).environment
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in said.items()), "utf-8")
    ended = CommandLine({}).run("batch", write_tasks(tmp_path / "tasks.jsonl", [{"text": "Hello."}]))

    assert ended.code == 0, ended.said
    assert audio_in(tmp_path / "out").keys() == {"task_0001.mp3"}


def test_a_folder_that_can_not_be_written_is_told(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": "Hello."}])
    ended = line.run("batch", tasks, "-o", tasks / "out")

    assert ended.code == 2
    assert bought(upstream) == 0


def test_neither_text_nor_key_is_written_anywhere(line: CommandLine, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"task_id": "a", "text": "canary-text"}])
    ended = line.run("batch", tasks, "-o", tmp_path / "out")

    manifest = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8")
    assert "canary" not in ended.said + manifest


# --- what is interrupted ------------------------------------------------------------------


def until(folder: Path, count: int) -> None:
    """Wait until a folder has so many files of audio."""
    deadline = time.monotonic() + 15
    while not folder.is_dir() or len(audio_in(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_keeps_all_that_was_bought_and_the_next_run_goes_on(
    line: CommandLine, upstream: Upstream, tmp_path: Path
) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}."} for n in range(300)]), tmp_path / "out"
    process = line.start("batch", tasks, "-o", out)
    until(out, 10)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=15)

    assert process.returncode == 130, said
    entries = manifest_in(out)
    assert 10 <= len(entries) < 300
    assert len(entries) == bought(upstream)
    assert [entry["index"] for entry in entries] == sorted(entry["index"] for entry in entries)
    assert audio_in(out) == {entry["file"]: spoken(f"{entry['index']}.") for entry in entries}
    assert line.run("batch", tasks, "-o", out).code == 0
    assert bought(upstream) == 300
    assert len(manifest_in(out)) == 300


def test_a_second_ctrl_c_abandons_what_is_being_spoken(tmp_path: Path) -> None:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=10_000) as upstream:
        tasks = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}."} for n in range(8)])
        process = command_line(upstream).start("batch", tasks, "-o", tmp_path / "out")
        deadline = time.monotonic() + 15
        while upstream.gauge(APP_ID).in_flight < LIMIT:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert time.monotonic() < began + 9
        process.communicate()

    # A Ctrl-C too many may meet the interpreter on its way out; a shell tells both as 130.
    assert process.returncode in {130, -signal.SIGINT}
    assert manifest_in(tmp_path / "out") == []


def test_a_killed_run_is_gone_on_with(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}."} for n in range(200)]), tmp_path / "out"
    process = line.start("batch", tasks, "-o", out)
    until(out, 10)
    process.kill()
    process.communicate()
    there = len(audio_in(out))
    line.run("batch", tasks, "-o", out)

    assert audio_in(out) == {f"task_{n + 1:04}.mp3": spoken(f"{n}.") for n in range(200)}
    assert bought(upstream) <= 200 + 2 * LIMIT
    assert there < 200


def test_two_runs_do_not_share_a_folder(line: CommandLine, tmp_path: Path) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}."} for n in range(300)]), tmp_path / "out"
    process = line.start("batch", tasks, "-o", out)
    until(out, 3)
    second = line.run("batch", tasks, "-o", out)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)

    assert second.code == 2
    assert "another run is at work" in second.err
    assert line.run("batch", tasks, "-o", out).code == 0


def test_a_folder_that_goes_away_ends_the_run(line: CommandLine, upstream: Upstream, tmp_path: Path) -> None:
    tasks, out = write_tasks(tmp_path / "tasks.jsonl", [{"text": f"{n}."} for n in range(300)]), tmp_path / "out"
    process = line.start("batch", tasks, "-o", out)
    until(out, 3)
    out.rename(tmp_path / "elsewhere")
    _, told = process.communicate(timeout=15)

    assert process.returncode == 1
    assert "No such file" in told
    assert "Traceback" not in told
    assert bought(upstream) < 300


# --- how it is installed --------------------------------------------------------------------


def test_without_its_extra_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['typer'] = None; from volcengine_client.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert "pip install 'volcengine-concurrent-tts[cli]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bad_usage_ends_with_2(line: CommandLine, tmp_path: Path) -> None:
    assert line.run("batch").code == 2
    assert line.run("batch", tmp_path / "missing.jsonl").code == 2
    assert line.run("sing").code == 2
