"""`volcengine-tts say`, over a real connection to the simulated upstream, and through a self-hosted gateway."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.command_line import CommandLine
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread

LIMIT = 2
VOICE = "BV001_streaming"
HELLO = "你好，世界。"
ADMIN_KEY = "canary-admin-key"


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


def command_line(upstream: Upstream, **environment: str) -> CommandLine:
    own = {
        "VOLCENGINE_TTS_APPID": APP_ID,
        "VOLCENGINE_TTS_ACCESS_KEY": ACCESS_KEY,
        "VOLCENGINE_TTS_ENDPOINT": upstream.url,
    }
    return CommandLine({**own, **environment})


def spoken(text: str, voice_type: str = VOICE, encoding: str = "mp3") -> bytes:
    return audio_of(Wishes(text, voice_type, encoding)).file


def bought(upstream: Upstream) -> int:
    return upstream.gauge(APP_ID).bought


# --- into a file ------------------------------------------------------------------------


def test_a_text_becomes_a_file(line: CommandLine, tmp_path: Path) -> None:
    ended = line.run("say", HELLO, "-v", "BV002_streaming", "-o", tmp_path / "hello.mp3")

    assert (ended.code, ended.out) == (0, ""), ended.said
    assert (tmp_path / "hello.mp3").read_bytes() == spoken(HELLO, "BV002_streaming")
    assert re.search(r"hello\.mp3: \d+\.\d s, 6 characters", ended.err)
    assert [path.name for path in tmp_path.iterdir()] == ["hello.mp3"]


@pytest.mark.parametrize(
    ("name", "options", "encoding"),
    [
        ("a.wav", (), "wav"),
        ("a.WAV", (), "wav"),
        ("a.opus", (), "ogg_opus"),
        ("a.pcm", ("--encoding", "pcm"), "pcm"),
        ("a.audio", ("--encoding", "wav"), "wav"),
        ("a", (), "mp3"),
    ],
)
def test_a_files_name_or_an_option_says_the_encoding(
    line: CommandLine, tmp_path: Path, name: str, options: tuple[str, ...], encoding: str
) -> None:
    ended = line.run("say", "Hello", "there.", "-o", tmp_path / name, *options)

    assert ended.code == 0, ended.said
    assert (tmp_path / name).read_bytes() == spoken("Hello there.", encoding=encoding)


def test_wishes_for_the_sound_reach_the_upstream(line: CommandLine, tmp_path: Path) -> None:
    plain, quick = tmp_path / "plain.wav", tmp_path / "quick.wav"
    wishes = ("--speed", "2", "--volume", "0.5", "--pitch", "-2", "--emotion", "happy", "--sample-rate", "8000")
    line.run("say", "One, two, three, four.", "-o", plain)
    ended = line.run("say", "One, two, three, four.", "-o", quick, *wishes)

    assert ended.code == 0, ended.said
    assert quick.stat().st_size < plain.stat().st_size / 4


def test_a_strange_voice_is_warned_of_and_its_refusal_told(line: CommandLine, tmp_path: Path) -> None:
    ended = line.run("say", "Hello.", "-v", "BV01_streaming", "-o", tmp_path / "a.mp3")

    assert ended.code == 1
    assert "warning: unknown voice BV01_streaming; did you mean BV001_streaming?" in ended.err
    assert list(tmp_path.iterdir()) == []


# --- through pipes ------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("-",)])
def test_a_pipe_is_read_and_another_written(line: CommandLine, words: tuple[str, ...]) -> None:
    given = f"\ufeff{HELLO}\n".encode()
    ended = line.pipe("say", *words, "-o", "-", "--encoding", "wav", given=given)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == spoken(HELLO, encoding="wav")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", "text: Text is required"),
        (b"one\ntw\xff\n", "standard input, line 2: not UTF-8"),
        (b"x" * (1024 * 1024 + 1), "longer than 1,048,576 bytes"),
    ],
)
def test_what_can_not_be_read_aloud_is_told(
    line: CommandLine, upstream: Upstream, given: bytes, told: str, tmp_path: Path
) -> None:
    ended = line.pipe("say", "-o", tmp_path / "a.mp3", given=given)

    assert (ended.code, ended.out) == (2, b"")
    assert told in ended.err
    assert bought(upstream) == 0


def test_audio_is_never_written_to_a_terminal(line: CommandLine, upstream: Upstream) -> None:
    ours, theirs = pty.openpty()
    process = line.start("say", "Hello.", "-o", "-", out=theirs)
    os.close(theirs)
    _, err = process.communicate(timeout=15)
    os.close(ours)

    assert process.returncode == 2
    assert "nothing for a terminal" in err
    assert bought(upstream) == 0


# --- what is refused before anything is bought ------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-o", "a.wav", "--encoding", "mp3"), "ends like wav"),
        (("-o", "a.mp3", "--encoding", "flac"), "mp3, wav, pcm or ogg_opus"),
        (("-o", "none/a.mp3"), "there is no folder none"),
        (("-o", "."), "is a directory"),
        (("-o", "a.mp3", "--speed", "9"), "speed: "),
        (("-o", "a.mp3", "--speed", "fast"), "--speed"),
        (("-o", "a.mp3", "--sample-rate", "11"), "sample_rate: "),
        (("-o", "a.mp3", "-v", ""), "voice_type: "),
        (("--encoding", "mp3"), "save it: -o FILE"),
        ((), "nothing here plays audio (ffplay, mpv, aplay, afplay, paplay); save it instead: -o"),
    ],
)
def test_what_can_not_work_is_told_before_anything_is_bought(
    upstream: Upstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command_line(upstream, PATH=str(tmp_path)).run("say", "canary-text", *arguments)

    assert ended.code == 2
    assert told in ended.err
    assert "canary-text" not in ended.said
    assert list(tmp_path.iterdir()) == []
    assert bought(upstream) == 0


def test_missing_and_rejected_credentials_are_to_be_corrected(upstream: Upstream, tmp_path: Path) -> None:
    missing = CommandLine({}).run("say", "Hello.", "-o", tmp_path / "a.mp3")
    wrong = command_line(upstream, VOLCENGINE_TTS_ACCESS_KEY="canary-wrong-key")
    rejected = wrong.run("say", "Hello.", "-o", tmp_path / "a.mp3")

    assert (missing.code, rejected.code) == (2, 2)
    assert "VOLCENGINE_TTS_APPID" in missing.err
    assert "canary-wrong-key" not in rejected.said


# --- to the speaker -----------------------------------------------------------------------------


def player(folder: Path, name: str, does: str) -> None:
    """Put a program of that name into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def test_the_first_player_found_plays_and_leaves_nothing(upstream: Upstream, tmp_path: Path) -> None:
    """It is given what it can play: a wav file for one that knows no mp3."""
    folder, left = tmp_path / "bin", tmp_path / "left"
    folder.mkdir()
    left.mkdir()
    player(folder, "aplay", f'/bin/cp "$2" {tmp_path}/heard.wav')
    line = command_line(upstream, PATH=str(folder), TMPDIR=str(left))
    first = line.pipe("say", HELLO)
    player(folder, "mpv", f'/bin/cp "$3" {tmp_path}/heard.mp3')
    second = line.pipe("say", HELLO)

    assert (first.code, first.out, second.code) == (0, b"", 0), first.err + second.err
    assert (tmp_path / "heard.wav").read_bytes() == spoken(HELLO, encoding="wav")
    assert (tmp_path / "heard.mp3").read_bytes() == spoken(HELLO)
    assert list(left.iterdir()) == []


@pytest.mark.parametrize("does", ["exit 1", None])
def test_audio_that_a_player_could_not_play_is_kept(upstream: Upstream, tmp_path: Path, does: str | None) -> None:
    player(tmp_path, "ffplay", does or "")
    if does is None:
        (tmp_path / "ffplay").write_text("#!/no/such/program\n")
    ended = command_line(upstream, PATH=str(tmp_path), TMPDIR=str(tmp_path)).pipe("say", HELLO)

    assert ended.code == 1
    told = re.search(r"ffplay could not play it; the audio is in (\S+)", ended.err)
    assert told is not None
    assert Path(told[1]).read_bytes() == spoken(HELLO)


# --- what is interrupted ----------------------------------------------------------------------------


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=10_000) as upstream:
        out = tmp_path / "out"
        out.mkdir()
        process = command_line(upstream).start("say", "Hello.", "-o", out / "a.mp3")
        deadline = time.monotonic() + 15
        while not upstream.gauge(APP_ID).in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=15)

    assert process.returncode == 130, said
    assert "Traceback" not in said[1]
    assert list(out.iterdir()) == []


# --- through a gateway ------------------------------------------------------------------------------


@pytest.fixture
def gateway_url(upstream: Upstream, tmp_path: Path) -> Iterator[str]:
    """A self-hosted server, as a process of its own, in front of the upstream."""
    folder = tmp_path / "server"
    folder.mkdir()
    account = {
        "VOLCENGINE_TTS_APPID": APP_ID,
        "VOLCENGINE_TTS_ACCESS_KEY": ACCESS_KEY,
        "VOLCENGINE_TTS_CONCURRENCY": str(LIMIT),
        "VOLCENGINE_TTS_ENDPOINT": upstream.url,
        "ADMIN_API_KEY": ADMIN_KEY,
    }
    main = "import sys; from volcengine_gateway.server import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", main, "--port", "0"],
        cwd=folder,
        env={**os.environ, **account},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        heard = (re.search(r"Listening on (http://\S+)", told) for told in process.stderr)
        yield next(found[1] for found in heard if found)
        process.terminate()
        process.communicate(timeout=15)


def test_a_gateway_says_it_with_its_own_account(gateway_url: str, upstream: Upstream, tmp_path: Path) -> None:
    line = CommandLine({"ADMIN_API_KEY": ADMIN_KEY})
    saved = line.run("say", HELLO, "-o", tmp_path / "a.wav", "--gateway", gateway_url)
    again = line.pipe("say", HELLO, "-o", "-", "--encoding", "wav", "--gateway", gateway_url)
    strange = line.run("say", HELLO, "-v", "no_such_voice", "-o", tmp_path / "b.wav", "--gateway", gateway_url)
    stranger = CommandLine({"ADMIN_API_KEY": "canary-key"}).run(
        "say", HELLO, "-o", tmp_path / "b.wav", "--gateway", gateway_url
    )

    assert (saved.code, again.code, strange.code, stranger.code) == (0, 0, 1, 2), saved.said + again.err
    assert (tmp_path / "a.wav").read_bytes() == again.out == spoken(HELLO, encoding="wav")
    assert "unknown voice no_such_voice" in strange.err
    assert "canary-key" not in stranger.said
    assert bought(upstream) == 1  # the gateway keeps what was said
    assert not (tmp_path / "b.wav").exists()


def test_a_gateway_that_is_out_of_reach_is_told(tmp_path: Path) -> None:
    line = CommandLine({"VOLCENGINE_TTS_GATEWAY": "http://127.0.0.1:9"})
    ended = line.run("say", "Hello.", "-o", tmp_path / "a.mp3")

    assert ended.code == 1
    assert "can't be reached" in ended.err
