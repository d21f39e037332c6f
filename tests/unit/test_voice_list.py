from __future__ import annotations

import pytest

from volcengine_client import InvalidRequestError, TaskItem, TaskResult, voices
from volcengine_client.limits import VOICE_WARNINGS_MAX
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.catalogue import entries
from volcengine_client.speech.voices import family_of
from volcengine_client.voice_list import warn, warning_of, warnings_of


def test_all_voices_are_told_with_what_speaks_them() -> None:
    told = voices()

    assert [voice.id for voice in told] == [entry.voice_type for entry in entries()]
    for voice in told:
        refusal = refusal_of(TaskItem(text="Hello.", voice_type=voice.id))
        assert voice.family == family_of(voice.id).name
        assert voice.resource == family_of(voice.id).resource
        assert voice.why_not == (refusal.message if refusal else None)
        assert (voice.api is None) == (voice.why_not is not None)


def test_voices_for_speech_to_speech_are_told_as_not_to_be_spoken_with() -> None:
    told = voices(family="speech-to-speech")

    assert len(told) == 25
    assert all(voice.api is None and "speech-to-speech" in (voice.why_not or "") for voice in told)


def test_filters_go_together() -> None:
    told = voices(language="en", gender="female", family="seed-tts-1.0", q="CANDICE")

    assert [voice.id for voice in told] == ["en_female_candice_emo_v2_mars_bigtts"]
    assert "ASMR" in told[0].styles


def test_a_filter_that_nothing_could_fit_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="gender should be one of female, male, unknown"):
        voices(gender="neutral")


# --- voices that nobody knows -----------------------------------------------------


@pytest.mark.parametrize(
    ("voice_type", "warning"),
    [
        ("BV01_streaming", "unknown voice BV01_streaming; did you mean BV001_streaming?"),
        ("no_such_voice", "unknown voice no_such_voice"),
        ("BV001_streaming", None),
        ("saturn_zh_female_aojiaonvyou_tob", None),
        ("S_abc123", None),
        ("icl_abc123", None),
    ],
)
def test_a_voice_that_nobody_knows_is_warned_of(voice_type: str, warning: str | None) -> None:
    assert warning_of(voice_type) == warning


def test_a_batch_is_warned_of_each_voice_once() -> None:
    tasks = [TaskItem(text="1", voice_type=voice) for voice in ("a", "BV001_streaming", "a", "b")]

    assert warnings_of(tasks) == ["unknown voice a", "unknown voice b"]


def test_a_batch_of_nothing_but_strange_voices_has_a_short_list() -> None:
    tasks = [TaskItem(text="1", voice_type=f"voice-{number}") for number in range(5_000)]

    assert len(warnings_of(tasks)) == VOICE_WARNINGS_MAX


def test_what_a_result_says_already_is_not_lost_to_a_warning() -> None:
    tasks = [TaskItem(text="1"), TaskItem(text="1", voice_type="a")]
    results = [TaskResult(task_id="1", pending=True, warning="no time for subtitles") for _ in tasks]
    warn(results, tasks)

    assert [result.warning for result in results] == [
        "no time for subtitles",
        "unknown voice a; no time for subtitles",
    ]
