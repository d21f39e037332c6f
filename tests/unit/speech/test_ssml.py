"""SSML that is cut is SSML again, and its children are whole."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcengine_client.speech.ssml import ssml_segments_of
from volcengine_client.speech.text import cleaned

HEAD = '<speak version="1.0" note="a&gt;b &lt; > /">'
TEXTS = st.text(st.sampled_from("好a. 。&<>\n“，1\u0301"), max_size=60).map(escape)
CHILDREN = st.sampled_from(
    [
        '<break time="1s"/>',
        "<p>段落。<s>x</s></p>",
        '<say-as as="1">3 &amp; 4</say-as>',
        "<sub alias='b'></sub>",
        "<p/>",
    ]
)
BESIDES = st.sampled_from(["<!-- <p> -->", "<?p x?>", "<![CDATA[<b>&]]>", "&#x4e2d;", "&quot;"])


def heard(ssml: str) -> tuple[str, list[bytes]]:
    """Return the readable characters of the text in `<speak>`, with a sign for each child that is heard, and those."""
    root = ET.fromstring(ssml)  # noqa: S314 (the test's own text)
    children = [child for child in root if "".join(child.itertext()).strip() or child.tag == "sub"]
    text = readable(root.text) + "".join(("@" if child in children else "") + readable(child.tail) for child in root)
    for child in children:
        child.tail = None
    return text, [ET.tostring(child) for child in children]


def readable(text: str | None) -> str:
    return "".join(filter(str.isalnum, cleaned(text or "")))


@settings(max_examples=300)
@given(st.lists(TEXTS | CHILDREN | BESIDES, max_size=40), st.integers(90, 150))
def test_segments_are_whole_and_nothing_heard_is_lost(parts: list[str], characters_max: int) -> None:
    ssml = HEAD + "".join(parts) + "</speak>"

    segments = ssml_segments_of(ssml, characters_max=characters_max)

    assert all(len(segment) <= characters_max and segment.startswith(HEAD) for segment in segments)
    wholes = [heard(segment) for segment in segments]
    assert ("".join(text for text, _ in wholes), [child for _, found in wholes for child in found]) == heard(ssml)
    assert all(text for text, _ in wholes) or not heard(ssml)[0]


@given(st.text(st.characters(exclude_characters="<&\ufffd"), max_size=400))
def test_any_text_is_cut_like_a_text(text: str) -> None:
    segments = ssml_segments_of(f"<speak>{escape(text)}</speak>", characters_max=60)

    assert all(len(segment) <= 60 for segment in segments)
    assert "".join(heard(segment)[0] for segment in segments) == readable(text)


def test_cuts_lie_between_sentences_and_children() -> None:
    texts = "你好。<break time='1s'/>今天。<p>One. Two.</p>三&lt;四&amp;五，六。<!-- c --> end"

    assert ssml_segments_of(f"<?xml version='1.0'?>\n<speak>{texts}</speak>", characters_max=45) == [
        "<speak>你好。<break time='1s'/>今天。</speak>",
        "<speak><p>One. Two.</p></speak>",
        "<speak>三&lt;四&amp;五，六。 end</speak>",
    ]


def test_what_fits_is_one_segment_without_what_stands_around_it() -> None:
    assert ssml_segments_of(
        "<?xml version='1.0' encoding='gbk'?><!-- a --><speak>\ufeff你</speak >\n", characters_max=17
    ) == ["<speak>你</speak >"]
    assert ssml_segments_of("<speak a='>'/>", characters_max=99) == ["<speak a='>'/>"]


BOMB = '<!DOCTYPE speak [<!ENTITY a "secret"><!ENTITY b "&a;&a;&a;&a;">]><speak>&b;&b;</speak>'


@pytest.mark.parametrize(
    ("ssml", "reason"),
    [
        ("", "broken at line 1, column 1: no element found"),
        ("secret", "broken at line 1, column 1: syntax error"),
        ("\n<speak>\n<p>secret</s></speak>", r"broken at line 3, column \d+: mismatched tag"),
        ("<speak>&secret;</speak>", "undefined entity"),
        ("<speak secret='1' secret='2'/>", "duplicate attribute"),
        ("<secret/>", "not a speak element"),
        ("<speak>\nsecret&#xFFFD;</speak>", "U\\+FFFD at line 2"),
        (BOMB, "document type at line 1"),
        ("<!DOCTYPE speak SYSTEM 'file:///secret'><speak/>", "document type at line 1"),
        ("<speak>" + "<secret>" * 32 + "</secret>" * 32 + "</speak>", "more than 32 elements"),
        (f"<speak>\n <secret>{'secret' * 9}</secret></speak>", "at line 2, column 2 has 71 characters; .* holds 45"),
        (f"<speak secret='{'secret' * 9}'>secret</speak>", "leave no room"),
        (f"<speak secret='{'secret' * 9}'/>", "leave no room"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_told_without_repeating_it(ssml: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as told:
        ssml_segments_of(ssml, characters_max=60)

    assert "secret" not in str(told.value)
    assert told.value.__suppress_context__ or told.value.__context__ is None


@settings(max_examples=300)
@given(st.text() | st.binary().map(lambda noise: f"<speak>{noise.decode('latin1')}</speak>"))
def test_any_noise_is_cut_or_refused(noise: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(len(segment) <= 40 for segment in ssml_segments_of(noise, characters_max=40))
