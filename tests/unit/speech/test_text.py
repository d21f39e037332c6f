from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.speech.text import characters_billed, cleaned


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("你好，世界。", "你好，世界。"),
        ("a\x00b\x07c\x7f\x9f", "abc"),
        ("one\r\ntwo\rthree\u2028four\u0085five", "one\ntwo\nthree\nfour\nfive"),
        ("a\tb", "a b"),
        ("\ufeff \u200bhello\u202e \u2060", "hello"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("a\ufffe\U0001ffffb\ufdd0", "ab"),
        ("😀!?", "😀!?"),
        ("\x00\u200b\n", ""),
        ("", ""),
    ],
)
def test_only_what_nobody_hears_is_dropped(text: str, clean: str) -> None:
    assert cleaned(text) == clean


@given(st.text(st.characters()))
def test_cleaning_never_grows_a_text_and_is_done_once(text: str) -> None:
    clean = cleaned(text)

    assert len(clean.encode()) <= len(text.encode("utf-8", "surrogatepass"))
    assert cleaned(clean) == clean


def test_every_character_that_is_sent_is_billed_as_one() -> None:
    assert characters_billed("你好，世界。") == 6
    assert characters_billed("Hi, 12\n3") == 8
    assert characters_billed("你\x00好\r\n") == 2
