"""Objects are found in a stream wherever it is cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.speech.stream import Objects

ANSWER: list[dict[str, Any]] = [
    {"code": 0, "message": "", "data": "UklGRg=="},
    {"code": 0, "message": 'a "quote" \\ and {[', "data": None, "sentence": {"text": "其他人。", "words": [{}, []]}},
    {},
    {"\\": '\\"}', "é\n\u2028": [[{"}": "{"}]]},
    {"code": 20_000_000, "message": "ok", "data": None, "usage": {"text_words": 10}},
]


def objects() -> Objects:
    return Objects(object_bytes_max=100_000, bytes_max=1_000_000)


def fed(pieces: list[bytes]) -> list[dict[str, Any]]:
    reading = objects()
    found = [one for piece in pieces for one in reading.feed(piece)]
    assert reading.is_between
    return found


def written(said: list[dict[str, Any]], *, glue: str, is_ascii: bool) -> bytes:
    return glue.join(json.dumps(one, ensure_ascii=is_ascii) for one in said).encode()


@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("glue", ["", "\n", "\r\n\r\n \t"])
def test_every_cut_of_an_answer_gives_the_same_objects(glue: str, is_ascii: bool) -> None:
    stream = written(ANSWER, glue=glue, is_ascii=is_ascii)

    for cut in range(len(stream) + 1):
        assert fed([stream[:cut], stream[cut:]]) == ANSWER
    for size in range(1, 8):
        assert fed([stream[at : at + size] for at in range(0, len(stream), size)]) == ANSWER


def test_every_two_cuts_of_a_short_answer_give_the_same_objects() -> None:
    said: list[dict[str, Any]] = [{"a": '"\\\\"{'}, {"é": [{}]}]
    stream = written(said, glue="", is_ascii=False)

    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert fed([stream[:first], stream[first:second], stream[second:]]) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    said=st.lists(st.dictionaries(st.text(max_size=9), JSON, max_size=4), max_size=5),
    glue=st.sampled_from(["", "\n", " \r\n"]),
    is_ascii=st.booleans(),
    cuts=st.lists(st.integers(min_value=0, max_value=2_000), max_size=12),
)
def test_any_objects_cut_anywhere_come_out_as_they_went_in(
    said: list[dict[str, Any]], glue: str, is_ascii: bool, cuts: list[int]
) -> None:
    stream = written(said, glue=glue, is_ascii=is_ascii)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert fed([stream[start:end] for start, end in itertools.pairwise(bounds)]) == said


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{", b"}", b'"', b"\\", b"[", b'{"a":']), max_size=12))
def test_any_bytes_end_in_objects_or_in_a_value_error_and_whole_or_cut_alike(pieces: list[bytes]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[list[dict[str, Any]], bool]:
        reading = objects()
        found: list[dict[str, Any]] = []
        try:
            for piece in pieces:
                found += reading.feed(piece)
        except ValueError:
            return found, False
        return found, True

    stream = b"".join(pieces)
    by_byte = outcome([stream[at : at + 1] for at in range(len(stream))])
    at_once = outcome([stream])

    assert at_once[1] is by_byte[1]
    if at_once[1]:
        assert at_once == by_byte


@pytest.mark.parametrize(
    "stream",
    [b"<html>", b"[]", b"null", b"x", b'{"a": }', b"{]", b'{"a": "\xff"}', b'{"a":' * 40, b"\xef\xbb\xbf{}", b"{}]"],
)
def test_what_is_no_object_is_an_error_that_quotes_nothing(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(there is something else than objects|an object is (not JSON|too deep))$"):
        list(objects().feed(stream))


def test_an_object_and_a_stream_have_their_bounds() -> None:
    with pytest.raises(ValueError, match="an object is too long"):
        list(Objects(object_bytes_max=100, bytes_max=1_000).feed(b'{"' + b"a" * 100))
    with pytest.raises(ValueError, match="the stream is too long"):
        list(Objects(object_bytes_max=100, bytes_max=1_000).feed(b" " * 1_001))


def test_a_stream_tells_whether_an_object_is_half_there() -> None:
    reading = objects()
    list(reading.feed(b' {"a"'))

    assert not reading.is_between
    assert list(reading.feed(b":1}\n")) == [{"a": 1}]
    assert reading.is_between
