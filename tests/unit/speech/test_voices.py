from __future__ import annotations

import pytest

from volcengine_client.speech.voices import (
    BIG,
    BIG_2,
    CLONE,
    CLONE_2,
    SMALL,
    SPEECH_TO_SPEECH,
    UNKNOWN,
    Family,
    _family_by_rule,
    catalogue,
    family_of,
)


def test_the_catalogue_is_whole() -> None:
    families = list(catalogue().values())

    assert len(families) == 746
    assert [families.count(family) for family in (SMALL, BIG, BIG_2, SPEECH_TO_SPEECH)] == [94, 161, 466, 25]


def test_the_rule_agrees_with_the_catalogue_on_every_voice() -> None:
    assert {voice for voice, family in catalogue().items() if _family_by_rule(voice) is not family} == set()


@pytest.mark.parametrize(
    ("voice", "family"),
    [
        ("BV001_streaming", SMALL),
        ("BV999_streaming", SMALL),
        ("zh_female_shuangkuaisisi_moon_bigtts", BIG),
        ("zh_female_new_mars_bigtts", BIG),
        ("ICL_zh_female_new_tob", BIG),
        ("multi_male_new", BIG),
        ("zh_female_new_uranus_bigtts", BIG_2),
        ("ICL_uranus_zh_female_new_tob", BIG_2),
        ("S_abc123", CLONE_2),
        ("icl_abc123", CLONE_2),
        ("zh_female_new_jupiter_bigtts", SPEECH_TO_SPEECH),
        ("saturn_zh_female_new_tob", SPEECH_TO_SPEECH),
        ("somebody", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_voice_belongs_to_the_family_of_its_id(voice: str, family: Family) -> None:
    assert family_of(voice) is family


def test_v1_is_known_to_speak_all_but_the_newer_families() -> None:
    assert {
        family.name: family.cluster for family in (SMALL, BIG, CLONE, UNKNOWN, CLONE_2, BIG_2, SPEECH_TO_SPEECH)
    } == {
        "small-model": "volcano_tts",
        "seed-tts-1.0": "volcano_tts",
        "cloned": "volcano_icl",
        "unknown": "volcano_tts",
        "cloned (2.0)": None,
        "seed-tts-2.0": None,
        "speech-to-speech": None,
    }
