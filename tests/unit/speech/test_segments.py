"""A text that is cut loses nothing that can be read, and is cut where a reader would breathe."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcengine_client.speech.clusters import cluster_ends
from volcengine_client.speech.segments import segments_of
from volcengine_client.speech.text import cleaned

WORDS = [
    "好",
    "你好",
    "hello",
    "I",
    "e\u0301",
    "3.14",
    "U.S.",
    "Dr. Smith",
    "\U0001f44d\U0001f3fd",
    "한글",
    "क्षि",
    "<&>",
]
MARKS = ["。", "，", "！”", "……", ". ", ", ", "? ", '"', " (", ") ", "「", "」", "\n", "\n\n", " ", "  ", "", "", "——"]
PROSE = st.lists(st.sampled_from(WORDS) | st.sampled_from(MARKS), max_size=120).map("".join)
UNICODE = st.text(st.characters(), max_size=300)
CROWDED = st.text(st.sampled_from('aé好\u0301\u200d\U0001f1e8\U0001f44d。.,"(“」 \n\u3000!'), max_size=300)


def is_readable(text: str) -> bool:
    return any(map(str.isalnum, text))


def between(text: str, segments: list[str]) -> list[str]:
    """Return what was left out before, between and after the segments."""
    left_out, at = [], 0
    for segment in segments:
        begins_at = text.index(segment, at)
        left_out.append(text[at:begins_at])
        at = begins_at + len(segment)
    return [*left_out, text[at:]]


@settings(max_examples=500)
@given(UNICODE | CROWDED | PROSE, st.integers(4, 120))
def test_segments_fit_are_clean_and_in_order_and_nothing_readable_is_lost(text: str, bytes_max: int) -> None:
    clean = cleaned(text)

    segments = segments_of(text, bytes_max=bytes_max)

    assert all(0 < len(segment.encode()) <= bytes_max for segment in segments)
    assert segments == [cleaned(segment) for segment in segments]
    assert all(map(is_readable, segments)) or not is_readable(clean)
    assert "".join(filter(str.isalnum, "".join(segments))) == "".join(filter(str.isalnum, clean))
    assert not any(map(is_readable, between(clean, segments)))
    assert (segments == [clean]) == (0 < len(clean.encode()) <= bytes_max)


@settings(max_examples=500)
@given(PROSE | CROWDED, st.integers(100, 200))
def test_only_white_space_is_left_out_when_marks_do_not_fill_a_segment(text: str, bytes_max: int) -> None:
    clean = cleaned(text)
    runs = [len("".join(run).encode()) for is_run, run in itertools.groupby(clean, lambda c: not c.isalnum()) if is_run]

    segments = segments_of(text, bytes_max=bytes_max)

    if max(runs, default=0) <= bytes_max // 2 and max(clusters(clean), default=0) <= bytes_max // 2:
        assert "".join(between(clean, segments)).strip() == ""


def clusters(text: str) -> list[int]:
    ends = cluster_ends(text)
    return [len(text[begin:end].encode()) for begin, end in zip([0, *ends], ends, strict=False)]


@given(UNICODE | CROWDED, st.integers(40, 100))
def test_no_cluster_that_fits_is_cut(text: str, bytes_max: int) -> None:
    clean = cleaned(text)
    ends = {0, *cluster_ends(clean)}

    segments = segments_of(text, bytes_max=bytes_max)

    if max(clusters(clean), default=0) <= bytes_max:
        left_out = between(clean, segments)
        places = itertools.accumulate(
            len(part) for pair in zip(left_out, [*segments, ""], strict=True) for part in pair
        )
        assert ends.issuperset(places)


@given(
    st.lists(
        st.sampled_from(["今天天气很好，我们走吧。", "“真的吗？”", "Is it 3.14, Dr. Smith? ", "Yes. "]), max_size=60
    )
)
def test_no_sentence_that_fits_is_cut_and_segments_are_full(sentences: list[str]) -> None:
    text = "".join(sentences)

    segments = segments_of(text, bytes_max=100)

    at = 0
    for segment in segments:
        taken = ""
        while cleaned(taken) != segment:
            taken, at = taken + sentences[at], at + 1
    assert at == len(sentences)
    for left, right in itertools.pairwise(segments[:-1]):
        assert len(left.encode()) + len(right.encode()) > 100


@pytest.mark.parametrize(
    ("text", "bytes_max", "segments"),
    [
        ("你好。今天天气很好！我们走吧？", 32, ["你好。今天天气很好！", "我们走吧？"]),
        ("他说：“走吧。”她说：“好的……”（笑）", 36, ["他说：“走吧。”", "她说：“好的……”（笑）"]),
        ('他说："你好。"她说："再见。"', 24, ['他说："你好。"', '她说："再见。"']),
        ("《红楼梦》「很好看」", 18, ["《红楼梦》", "「很好看」"]),
        ("我们今天去公园，然后回家吃饭", 27, ["我们今天去公园，", "然后回家吃饭"]),
        ("我喜欢Python编程", 16, ["我喜欢", "Python编程"]),
        ("It is 3.14 today. Dr. Smith, e.g., left the U.S. Army in 2020. Then he slept.", 50,
         ["It is 3.14 today.", "Dr. Smith, e.g., left the U.S. Army in 2020.", "Then he slept."]),
        ('"Why?" he asked. "Go home." They left.', 30, ['"Why?" he asked.', '"Go home." They left.']),
        ("See https://a.example/b.c?d=e!f,gh. So go home.", 36, ["See https://a.example/b.c?d=e!f,gh.", "So go home."]),
        ("https://a.example/bc?d=e!f,gh;ij", 20, ["https://a.exampl", "e/bc?d=e!f,gh;ij"]),
        ("It costs $5 or -5 now", 17, ["It costs $5", "or -5 now"]),
        ("We went home - and slept there", 20, ["We went home -", "and slept there"]),
        ("1. First thing\n2. Second thing", 20, ["1. First thing", "2. Second thing"]),
        ("One. Two. Three.\nFour. Five. Six seven.", 30, ["One. Two. Three.", "Four. Five. Six seven."]),
        ("今天是2024.第二天", 20, ["今天是2024.", "第二天"]),
        ("नमस्ते दुनिया। कैसे हो", 44, ["नमस्ते दुनिया।", "कैसे हो"]),
        ("a" + "!" * 20 + "b", 8, ["a!!!!!!!", "!!!!!b"]),
        ("!" * 10, 8, ["!!!!!!!!", "!!"]),
        ("e" + "\u0301" * 5, 5, ["e\u0301\u0301"]),
        ("", 4, []),
        ("\x00 \n", 4, []),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_a_reader_breathes(text: str, bytes_max: int, segments: list[str]) -> None:
    assert segments_of(text, bytes_max=bytes_max) == segments


def test_the_last_segment_is_no_stray_word() -> None:
    segments = segments_of("word " * 21, bytes_max=100)

    assert [len(segment) for segment in segments] == [54, 49]


def test_a_hundred_thousand_characters_are_cut_in_one_pass() -> None:
    for text in ("好" * 100_000, "a" + "!" * 100_000 + "b", "www." * 25_000, '"a"' * 33_000, "a" + "\u200d" * 100_000):
        segments = segments_of(text, bytes_max=1_024)

        assert sum(map(len, segments)) <= 100_002
