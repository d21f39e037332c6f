"""Every wish reaches its field of v3, or is refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from volcengine_client.errors import OptionRefusedError, UpstreamRejectedError
from volcengine_client.models import TaskItem
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.options import v3_params
from volcengine_client.speech.sound import shape_of
from volcengine_client.speech.voices import BIG, BIG_2, CLONE, CLONE_2, Family

TEXT = "你好。"
SSML = f"<speak>{TEXT}</speak>"
BIG_VOICE = "zh_female_shuangkuaisisi_moon_bigtts"
NEW_VOICE = "zh_female_vv_uranus_bigtts"


def params(family: Family = BIG_2, **wishes: Any) -> dict[str, Any]:
    return v3_params(TaskItem(None, TEXT, NEW_VOICE, **wishes), family, wishes.get("model"))


def test_a_plain_task_says_nothing_but_what_is_needed() -> None:
    assert params() == {"text": TEXT, "speaker": NEW_VOICE, "audio_params": {"format": "mp3"}}


@pytest.mark.parametrize(
    ("wishes", "fields"),
    [
        ({"encoding": "wav"}, {"format": "pcm"}),
        ({"encoding": "pcm", "sample_rate": 8_000}, {"format": "pcm", "sample_rate": 8_000}),
        ({"encoding": "ogg_opus", "sample_rate": 48_000}, {"format": "ogg_opus", "sample_rate": 48_000}),
        *(({"sample_rate": rate}, {"sample_rate": rate}) for rate in (16_000, 22_050, 24_000, 32_000, 44_100)),
        ({"speed": 0.5}, {"speech_rate": -50}),
        ({"speed": 1}, {"speech_rate": 0}),
        ({"speed": 1.15}, {"speech_rate": 15}),
        ({"speed": 2}, {"speech_rate": 100}),
        ({"volume": 0.5}, {"loudness_rate": -50}),
        ({"volume": 2}, {"loudness_rate": 100}),
        ({"emotion": "happy"}, {"emotion": "happy"}),
        ({"subtitles": "srt"}, {"enable_subtitle": True}),
    ],
)
def test_a_wish_for_the_sound_reaches_its_field(wishes: dict[str, Any], fields: dict[str, Any]) -> None:
    assert params(**wishes)["audio_params"] == {"format": "mp3"} | fields


@pytest.mark.parametrize(
    ("wishes", "additions"),
    [
        ({"silence_ms": 0}, {"silence_duration": 0}),
        ({"silence_ms": 30_000}, {"silence_duration": 30_000}),
        ({"language": "en"}, {"explicit_language": "en"}),
        ({"pitch": -12}, {"post_process": {"pitch": -12}}),
        ({"pitch": 3.0, "language": "ja"}, {"explicit_language": "ja", "post_process": {"pitch": 3}}),
    ],
)
def test_an_addition_is_json_in_a_string(wishes: dict[str, Any], additions: dict[str, Any]) -> None:
    told = params(**wishes)["additions"]

    assert isinstance(told, str)
    assert json.loads(told) == additions


def test_a_pitch_of_nothing_is_no_addition() -> None:
    assert "additions" not in params(pitch=0)


def test_the_model_is_told_when_it_was_named() -> None:
    assert params(CLONE_2, model="seed-tts-2.0-expressive")["model"] == "seed-tts-2.0-expressive"


@pytest.mark.parametrize("family", [BIG, CLONE])
def test_ssml_and_times_have_fields_of_their_own_in_the_first_generation(family: Family) -> None:
    told = v3_params(TaskItem(None, SSML, NEW_VOICE, text_type="ssml", subtitles="json"), family, None)

    assert told["ssml"] == SSML
    assert "text" not in told
    assert told["audio_params"]["enable_timestamp"] is True


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (TaskItem(None, SSML, NEW_VOICE, text_type="ssml"), "SSML does not work with seed-tts-2.0 voices"),
        (TaskItem(None, SSML, "S_mine", text_type="ssml"), "SSML does not work with cloned (2.0) voices"),
        (TaskItem(None, TEXT, NEW_VOICE, speed=0.4), "The speed of seed-tts-2.0 voices should be from 0.5 to 2"),
        (TaskItem(None, TEXT, NEW_VOICE, speed=2.1), "from 0.5 to 2"),
        (TaskItem(None, TEXT, NEW_VOICE, volume=0.1), "The volume of seed-tts-2.0 voices should be from 0.5 to 2"),
        (TaskItem(None, TEXT, NEW_VOICE, pitch=0.5), "should be whole semitones"),
        (TaskItem(None, TEXT, BIG_VOICE, pitch=2, speed=0.3), "from 0.5 to 2 on the v3 API"),
        (TaskItem(None, TEXT, "BV001_streaming", sample_rate=44_100), "should be one of 8000, 16000, 24000"),
        (TaskItem(None, TEXT, "somebody", sample_rate=48_000), "should be one of 8000, 16000, 24000"),
        (TaskItem(None, TEXT, BIG_VOICE, speed=2.5), "The speed of seed-tts-1.0 voices should be from 0.1 to 2"),
    ],
)
def test_what_a_voice_cannot_do_is_refused_with_the_reason(task: TaskItem, reason: str) -> None:
    refusal = refusal_of(task)

    assert isinstance(refusal, OptionRefusedError)
    assert reason in refusal.message


def test_nothing_readable_is_refused_on_v3_too() -> None:
    assert isinstance(refusal_of(TaskItem(None, "\u200b\x00", NEW_VOICE)), UpstreamRejectedError)


def test_every_wish_that_shapes_the_sound_is_in_its_shape() -> None:
    plain, asked_with_subtitles = TaskItem(None, SSML, NEW_VOICE), TaskItem(None, SSML, NEW_VOICE, subtitles="srt")
    others = [
        TaskItem(None, SSML, NEW_VOICE, **wish)
        for wish in (
            {"encoding": "wav"},
            {"sample_rate": 48_000},
            {"speed": 1.5},
            {"volume": 1.5},
            {"pitch": 1},
            {"emotion": "happy"},
            {"language": "en"},
            {"silence_ms": 1},
            {"text_type": "ssml"},
            {"model": "en"},
            {"resource_id": "en"},
        )
    ]
    shapes = [tuple(shape_of(task)) for task in (plain, *others)]

    assert len(set(shapes)) == len(shapes)
    assert shapes[0] == (NEW_VOICE, SSML, "mp3", None, None, None, None, None)
    assert shape_of(asked_with_subtitles) == shape_of(plain), "the same sound is not bought again for them"
