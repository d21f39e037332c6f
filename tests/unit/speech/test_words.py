from __future__ import annotations

import json
from typing import Any

import pytest

from volcengine_client.speech.speech import Word
from volcengine_client.speech.words import words_in_frontend, words_in_sentences


def test_v1_tells_seconds_in_a_string_of_json() -> None:
    words = [{"word": "你", "start_time": 0.025, "end_time": 0.185}, {"word": "好", "start_time": 1, "end_time": 1}]

    assert words_in_frontend(json.dumps({"words": words})) == (Word("你", 25, 185), Word("好", 1_000, 1_000))
    assert words_in_frontend({"words": words}) == words_in_frontend(json.dumps({"words": words}))


def test_v3_tells_a_sentence_at_a_time_and_some_of_them_late() -> None:
    late = {"words": [{"word": "one", "startTime": 0, "endTime": 0.4, "confidence": 0.8}]}
    early = {"words": [{"word": "two", "startTime": 0.5, "endTime": 0.9}]}

    assert words_in_sentences([early, late]) == (Word("one", 0, 400), Word("two", 500, 900))


@pytest.mark.parametrize(
    "frontend",
    [None, "", "{", "[" * 100_000, [], {}, {"words": None}, {"words": []}, {"words": [None]}, 5, True]
    + [
        {"words": [{"word": "a", "start_time": start, "end_time": end}]}
        for start, end in [(None, 1), ("0", "1"), (1, 0.5), (-1, 1), (0, float("inf")), (float("nan"), 1), (0, True)]
    ]
    + [{"words": [{"word": 3, "start_time": 0, "end_time": 1}]}, {"words": [{"start_time": 0, "end_time": 1}]}],
)
def test_odd_shapes_are_no_words(frontend: Any) -> None:
    assert words_in_frontend(frontend) is None
    assert words_in_sentences([frontend]) is None


def test_more_words_than_any_text_has_are_no_words() -> None:
    word = {"word": "a", "startTime": 0, "endTime": 1}

    assert words_in_sentences([{"words": [word] * 10_000}] * 3) is None


def test_no_words_at_all_are_none() -> None:
    assert words_in_sentences([]) is None
