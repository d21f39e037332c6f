"""Subtitles: every letter is read, in order, and when it is heard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.speech.speech import Word
from volcengine_client.speech.subtitles import CUE_COLUMNS_MAX, Cue, Heard, cues_of, subtitles_of, words_of
from volcengine_client.speech.text import cleaned

HELLO_WORDS = [
    Word("Hello", 100, 600),
    Word("world", 700, 1_300),
    Word("Good", 2_000, 2_500),
    Word("day", 2_500, 3_000),
]
HELLO = Heard("Hello, world. Good day!", 0, 4_000, HELLO_WORDS)
GREETING = Heard("你好，世界。再见！", 0, 3_000)


def _one_after_another(*heard: Heard) -> list[Heard]:
    starts = accumulate((one.duration_ms for one in heard), initial=0)
    return [replace(one, start_ms=start) for one, start in zip(heard, starts, strict=False)]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _are_in_order(cues: Sequence[Cue]) -> bool:
    times = [(cue.start_ms, cue.end_ms) for cue in cues]
    return all(start <= end for start, end in times) and all(one[1] <= two[0] for one, two in pairwise(times))


def test_a_cue_is_a_sentence_from_its_first_word_to_its_last() -> None:
    assert cues_of([HELLO]) == [Cue("Hello, world.", 100, 1_300), Cue("Good day!", 2_000, 3_000)]


def test_without_words_the_sentences_share_their_segment_by_their_letters() -> None:
    assert cues_of([GREETING]) == [Cue("你好，世界。", 0, 2_000), Cue("再见！", 2_000, 3_000)]


def test_segments_follow_each_other() -> None:
    cues = cues_of(_one_after_another(GREETING, HELLO, GREETING))

    assert [(cue.start_ms, cue.end_ms) for cue in cues] == [
        (0, 2_000),
        (2_000, 3_000),
        (3_100, 4_300),
        (5_000, 6_000),
        (7_000, 9_000),
        (9_000, 10_000),
    ]


def test_gaps_between_segments_are_nobodys() -> None:
    """Opus segments are joined with some milliseconds between them."""
    cues = cues_of([GREETING, replace(GREETING, start_ms=3_020)])

    assert [(cue.start_ms, cue.end_ms) for cue in cues] == [(0, 2_000), (2_000, 3_000), (3_020, 5_020), (5_020, 6_020)]


def test_a_number_that_is_said_in_words_does_not_lose_the_thread() -> None:
    """The voice tells what it said, not what was written."""
    words = [
        Word("Chapter", 0, 500),
        Word("twelve", 500, 900),
        Word("begins", 1_000, 1_400),
        Word("here", 1_400, 1_800),
    ]
    [cue] = cues_of([Heard("Chapter 12 begins here.", 0, 2_000, words)])
    first, second = cues_of([Heard("It is 12. Chapter two.", 0, 3_000, [Word("Chapter", 1_500, 2_000)])])

    assert (cue.start_ms, cue.end_ms) == (0, 1_800)
    assert first.end_ms <= second.start_ms == 1_500


def test_a_long_sentence_is_read_in_parts() -> None:
    text = "，".join(["这是一句很长的话"] * 12) + "。"
    cues = cues_of([Heard(text, 0, 30_000)])

    assert len(cues) > 3
    assert _letters("".join(cue.text for cue in cues)) == _letters(text)
    assert all(2 * len(cue.text) <= CUE_COLUMNS_MAX for cue in cues)
    assert (cues[0].start_ms, cues[-1].end_ms) == (0, 30_000)


@pytest.mark.parametrize(
    "words",
    [
        [Word("Good", 2_000, 1_000)],
        [Word("Good", -5, 10)],
        [Word("day", 3_000, 9_000)],
        [Word("day", 2_000, 2_500), Word("Hello", 100, 600)],
        [Word("", 0, 1), Word("…", 1, 2)],
        [Word("elsewhere", 0, 4_000)],
    ],
)
def test_odd_times_of_a_voice_do_no_harm(words: list[Word]) -> None:
    cues = cues_of([Heard(HELLO.text, 0, 4_000, words)])

    assert [cue.text for cue in cues] == ["Hello, world.", "Good day!"]
    assert _are_in_order(cues)
    assert cues[-1].end_ms <= 4_000


WORDS = st.builds(Word, st.text(max_size=5), st.integers(-10, 99_999), st.integers(0, 99_999))


@given(
    st.lists(
        st.tuples(
            st.text(max_size=200),
            st.integers(0, 100_000),
            st.none()
            | st.lists(st.builds(Word, st.text(max_size=5), st.integers(-10, 99_999), st.integers(0, 99_999))),
        ),
        max_size=4,
    )
)
def test_whatever_was_said_is_read_once_and_in_order(said: list[tuple[str, int, list[Word] | None]]) -> None:
    heard = _one_after_another(*(Heard(text, 0, duration_ms, words) for text, duration_ms, words in said))
    cues = cues_of(heard)

    assert _letters("".join(cue.text for cue in cues)) == _letters("".join(cleaned(one.text) for one in heard))
    assert _are_in_order(cues)
    assert all(0 <= cue.start_ms <= cue.end_ms <= sum(one.duration_ms for one in heard) for cue in cues)
    assert all(cue.text.strip() for cue in cues)


def test_srt_is_numbered_and_has_commas() -> None:
    assert subtitles_of([HELLO], "srt") == (
        "1\n00:00:00,100 --> 00:00:01,300\nHello, world.\n\n2\n00:00:02,000 --> 00:00:03,000\nGood day!\n"
    )


def test_vtt_has_a_head_and_no_markup_of_the_text() -> None:
    assert subtitles_of([Heard("a<b> & c", 0, 3_600_000)], "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 01:00:00.000\na&lt;b&gt; &amp; c\n"
    )


def test_json_tells_words_where_the_voice_does() -> None:
    told = json.loads(subtitles_of([HELLO], "json"))
    without = json.loads(subtitles_of(_one_after_another(HELLO, GREETING), "json"))

    assert told["duration_ms"] == 4_000
    assert told["cues"][0] == {"text": "Hello, world.", "start_ms": 100, "end_ms": 1_300}
    assert told["words"][1] == {"text": "world", "start_ms": 700, "end_ms": 1_300}
    assert without["words"] is None
    assert words_of(_one_after_another(HELLO, HELLO)) == [
        *HELLO_WORDS,
        *(Word(word.text, word.start_ms + 4_000, word.end_ms + 4_000) for word in HELLO_WORDS),
    ]


def test_what_nobody_can_read_is_shown_while_it_lasts_and_nothing_is_not() -> None:
    assert cues_of([Heard("…", 0, 500)]) == [Cue("…", 0, 500)]
    assert cues_of([]) == []
