from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.errors import InvalidRequestError
from volcengine_client.speech.catalogue import (
    VoiceEntry,
    entries,
    families,
    found,
    genders,
    languages,
    likest,
)

filters = st.fixed_dictionaries(
    {},
    optional={
        "language": st.sampled_from(languages()),
        "gender": st.sampled_from(genders()),
        "family": st.sampled_from(families()),
        "q": st.sampled_from(["BV", "bv001", "ICL", "灿灿", "VIVI", "2.0", "_uranus_", "", "nobody", "ß"]),
    },
)


# --- what is listed -----------------------------------------------------------


def test_every_voice_is_listed_once_and_in_order() -> None:
    assert len(entries()) == 746
    assert all(one.voice_type < next_one.voice_type for one, next_one in pairwise(entries()))


def test_every_voice_has_all_that_is_told_of_it() -> None:
    for entry in entries():
        assert entry.voice_type.isascii()
        assert entry.voice_type == entry.voice_type.strip()
        assert entry.name.strip()
        assert entry.languages
        assert len(set(entry.languages)) == len(entry.languages)
        assert len(set(entry.styles)) == len(entry.styles)
    assert genders() == ("female", "male", "unknown")
    assert families() == ("seed-tts-1.0", "seed-tts-2.0", "small-model", "speech-to-speech")


def test_an_id_that_names_a_gender_has_it_unless_the_voice_sounds_otherwise() -> None:
    odd = {
        entry.voice_type
        for entry in entries()
        if f"_{'male' if entry.gender == 'female' else 'female'}_" in entry.voice_type
    }

    assert odd == {"zh_female_wanqudashu_moon_bigtts"}  # an uncle


def test_no_two_languages_differ_by_case_alone() -> None:
    assert len({code.casefold() for code in languages()}) == len(languages())


def test_styles_are_known_of_voices_made_for_them() -> None:
    assert all("_emo_" in entry.voice_type for entry in entries() if entry.styles)
    assert {entry.voice_type: entry.styles for entry in entries()}["zh_female_meilinvyou_emo_v2_mars_bigtts"] == (
        "fear",
        "neutral",
        "sad",
    )


# --- what is found ------------------------------------------------------------


@given(filters)
def test_a_filter_finds_what_fits_and_leaves_out_nothing_else(asked: dict[str, str]) -> None:
    kept = found(**asked)

    assert kept == [entry for entry in entries() if all(fits(entry, *one) for one in asked.items())]


def fits(entry: VoiceEntry, field: str, wanted: str) -> bool:
    if field == "language":
        return any(code == wanted or code.split("-")[0] == wanted for code in entry.languages)
    if field == "q":
        return wanted.casefold() in f"{entry.voice_type}\n{entry.name}".casefold()
    return bool(getattr(entry, field) == wanted)


@given(filters, filters)
def test_one_filter_more_never_finds_more(asked: dict[str, str], more: dict[str, str]) -> None:
    assert {entry.voice_type for entry in found(**{**more, **asked})} <= {entry.voice_type for entry in found(**asked)}


@given(filters)
def test_case_never_matters(asked: dict[str, str]) -> None:
    assert found(**{field: wanted.swapcase() for field, wanted in asked.items()}) == found(**asked)


@given(st.sampled_from(entries()))
def test_a_voice_is_found_by_all_that_is_told_of_it(entry: VoiceEntry) -> None:
    for language in entry.languages:
        kept = found(language=language, gender=entry.gender, family=entry.family, q=entry.name.upper())
        assert entry in kept
    assert entry in found(q=entry.voice_type[2:].upper())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"language": "xx"}, "language should be one of ar, ar-EG, auto,"),
        ({"language": "e"}, "language should be one of"),
        ({"language": "en-"}, "language should be one of"),
        ({"gender": "femal"}, "gender should be one of female, male, unknown"),
        ({"family": "bigtts"}, "family should be one of seed-tts-1.0, seed-tts-2.0, small-model, speech-to-speech"),
        ({"q": "x" * 101}, "q should have at most 100 characters"),
    ],
)
def test_a_filter_that_nothing_could_fit_is_refused_with_what_would_do(asked: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{message}") as refused:
        found(**asked)

    assert [field["field"] for field in refused.value.details["fields"]] == list(asked)


# --- what somebody may have meant ------------------------------------------------


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("BV01_streaming", "BV001_streaming"),
        ("bv001_streaming", "BV001_streaming"),
        ("BV001", "BV001_streaming"),
        ("BV001_steaming", "BV001_streaming"),
        ("zh_female_cancan_mars_bigtt", "zh_female_cancan_mars_bigtts"),
        ("zh_female_cancna_mars_bigtts", "zh_female_cancan_mars_bigtts"),
        ("zh-female-cancan_mars_bigtts", "zh_female_cancan_mars_bigtts"),
        ("灿灿", "BV700_streaming"),
        ("BV999_streaming", None),
        ("zh_female_new_uranus_bigtts", None),
        ("no_such_voice", None),
        ("zh_female_vv_jupiter_bigtt", None),  # nor can anybody speak with that one
        ("", None),
        ("_", None),
        ("x" * 128, None),
    ],
)
def test_a_slip_in_an_id_is_seen(written: str, known: str | None) -> None:
    assert likest(written) == known
