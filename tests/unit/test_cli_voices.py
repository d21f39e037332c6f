"""`volcengine-tts voices`, and what a shell completes."""

from __future__ import annotations

import json
import os
import pty

import pytest

from tests.support.command_line import CommandLine
from volcengine_client import voices

OFFLINE = CommandLine({"VOLCENGINE_TTS_ENDPOINT": "http://127.0.0.1:9", "VOLCENGINE_TTS_GATEWAY": "http://127.0.0.1:9"})


def shown_on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run a command whose output is a terminal, and return what it writes there."""
    ours, theirs = pty.openpty()
    line = CommandLine({"COLUMNS": "200", "TERM": "xterm", **environment})
    process = line.start(*arguments, out=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # how Linux tells that the other side is closed
        pass
    os.close(ours)
    assert process.wait(15) == 0
    line.end()
    return shown.decode()


def test_voices_are_listed_a_line_each_for_other_programs() -> None:
    ended = OFFLINE.run("voices")

    assert ended.code == 0
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert [line[0] for line in lines] == [voice.id for voice in voices()]
    assert {len(line) for line in lines} == {7}
    assert ["BV001_streaming", "通用女声", "zh-CN", "female", "small-model", "v1", ""] in lines
    assert "\x1b" not in ended.said


def test_filters_are_those_of_the_list() -> None:
    asked = ("--language", "en", "--gender", "female", "--family", "seed-tts-1.0", "-q", "CANDICE")
    ended = OFFLINE.run("voices", *asked)

    assert [line.split("\t")[0] for line in ended.out.splitlines()] == ["en_female_candice_emo_v2_mars_bigtts"]


def test_all_that_is_known_is_there_as_json() -> None:
    told = json.loads(OFFLINE.run("voices", "--family", "speech-to-speech", "--json").out)

    assert len(told) == 25
    assert all(voice["api"] is None and voice["why_not"] for voice in told)
    assert json.loads(OFFLINE.run("voices", "-q", "nobody", "--json").out) == []


def test_nothing_found_is_told_beside_the_list() -> None:
    ended = OFFLINE.run("voices", "-q", "nobody")

    assert (ended.code, ended.out) == (0, "")
    assert "No known voice" in ended.err


def test_a_bad_filter_is_told_once_with_what_would_do() -> None:
    ended = OFFLINE.run("voices", "--gender", "femal")

    assert ended.code == 2
    assert ended.err.splitlines() == ["volcengine-tts: gender should be one of female, male, unknown"]


def test_a_terminal_gets_a_table() -> None:
    shown = shown_on_a_terminal("voices", "-q", "BV001", NO_COLOR="")

    assert "languages" in shown
    assert "BV001_streaming" in shown
    assert "\t" not in shown
    assert "\x1b[" in shown


def test_a_terminal_without_colours_gets_a_plain_table() -> None:
    shown = shown_on_a_terminal("voices", "-q", "BV001", NO_COLOR="1")

    assert "BV001_streaming" in shown
    assert "\x1b" not in shown


# --- completion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "completed"),
    [
        ("volcengine-tts say -v zh_female_canc", ["zh_female_cancan_mars_bigtts", "zh_female_cancan_uranus_bigtts"]),
        ("volcengine-tts voices --language en-", ["en-AU", "en-GB", "en-US"]),
        ("volcengine-tts sa", ["say"]),
    ],
)
def test_a_shell_completes_commands_and_voices(begun: str, completed: list[str]) -> None:
    asked = {
        "_VOLCENGINE_TTS_COMPLETE": "complete_bash",
        "COMP_WORDS": begun,
        "COMP_CWORD": str(len(begun.split()) - 1),
    }

    assert CommandLine(asked).pipe().out.decode().split() == completed


def test_a_shell_can_be_taught_to_complete() -> None:
    assert "--install-completion" in OFFLINE.run("--help").out
