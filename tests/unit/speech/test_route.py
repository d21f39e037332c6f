"""Which API and product speak a task."""

from __future__ import annotations

import pytest

from volcengine_client.errors import VoiceNotGrantedError
from volcengine_client.models import TaskItem
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.route import product_of, route_of
from volcengine_client.speech.voices import BIG, BIG_2, CLONE, CLONE_2, SPEECH_TO_SPEECH, catalogue

BIG_VOICE = "zh_female_shuangkuaisisi_moon_bigtts"
NEW_VOICE = "zh_female_vv_uranus_bigtts"
DIALOGUE_VOICE = "zh_female_vv_jupiter_bigtts"


def told(task: TaskItem, *, has_v1: bool = True) -> tuple[str, str | None, str | None]:
    route = route_of(task, has_v1=has_v1)
    return route.api, route.resource, route.model


def test_all_746_voices_of_the_catalogue_are_routed_or_refused_with_the_reason() -> None:
    routed: dict[tuple[str, str | None], int] = {}
    refused = 0
    for voice, family in catalogue().items():
        task = TaskItem(None, "hello", voice)
        if family is SPEECH_TO_SPEECH:
            refusal = refusal_of(task)
            assert isinstance(refusal, VoiceNotGrantedError)
            assert "speech-to-speech" in refusal.message
            refused += 1
            continue
        assert refusal_of(task) is None
        route = route_of(task)
        routed[route.api, route.resource] = routed.get((route.api, route.resource), 0) + 1

    assert routed == {
        ("v1", "volc.tts.default"): 94,
        ("v1", "volc.service_type.10029"): 161,
        ("v3", "seed-tts-2.0"): 466,
    }
    assert refused == 25


@pytest.mark.parametrize(
    ("task", "route"),
    [
        (TaskItem(None, "a", "BV001_streaming"), ("v1", "volc.tts.default", None)),
        (TaskItem(None, "a", BIG_VOICE), ("v1", "volc.service_type.10029", None)),
        (TaskItem(None, "a", BIG_VOICE, pitch=2), ("v3", "seed-tts-1.0", None)),
        (TaskItem(None, "a", BIG_VOICE, sample_rate=48_000), ("v3", "seed-tts-1.0", None)),
        (TaskItem(None, "a", BIG_VOICE, pitch=0, sample_rate=16_000), ("v1", "volc.service_type.10029", None)),
        (TaskItem(None, "a", BIG_VOICE, model="seed-tts-1.1"), ("v1", "volc.service_type.10029", "seed-tts-1.1")),
        (TaskItem(None, "a", NEW_VOICE), ("v3", "seed-tts-2.0", None)),
        (TaskItem(None, "a", "S_mine"), ("v3", "seed-icl-2.0", None)),
        (TaskItem(None, "a", "somebody"), ("v1", None, None)),
    ],
)
def test_a_voice_decides_for_itself(task: TaskItem, route: tuple[str, str | None, str | None]) -> None:
    assert told(task) == route


@pytest.mark.parametrize(
    ("task", "route"),
    [
        (TaskItem(None, "a", BIG_VOICE, resource_id="seed-tts-1.0"), ("v3", "seed-tts-1.0", None)),
        (TaskItem(None, "a", BIG_VOICE, resource_id="seed-tts-1.0-concurr"), ("v3", "seed-tts-1.0-concurr", None)),
        (TaskItem(None, "a", "S_mine", resource_id="volc.megatts.default"), ("v1", "volc.megatts.default", None)),
        (TaskItem(None, "a", "S_mine", resource_id="seed-icl-1.0"), ("v3", "seed-icl-1.0", None)),
        (TaskItem(None, "a", NEW_VOICE, resource_id="seed-tts-3.0"), ("v3", "seed-tts-3.0", None)),
        (TaskItem(None, "a", "somebody", resource_id="seed-tts-2.0"), ("v3", "seed-tts-2.0", None)),
        (TaskItem(None, "a", DIALOGUE_VOICE, resource_id="seed-tts-2.0"), ("v3", "seed-tts-2.0", None)),
        (TaskItem(None, "a", "somebody", model="seed-tts-2.0"), ("v3", "seed-tts-2.0", None)),
        (
            TaskItem(None, "a", "S_mine", model="seed-tts-2.0-expressive"),
            ("v3", "seed-icl-2.0", "seed-tts-2.0-expressive"),
        ),
        (
            TaskItem(None, "a", "S_mine", model="seed-tts-2.0-standard", resource_id="seed-icl-9"),
            ("v3", "seed-icl-9", "seed-tts-2.0-standard"),
        ),
        (TaskItem(None, "a", BIG_VOICE, model="seed-tts-9"), ("v1", "volc.service_type.10029", "seed-tts-9")),
    ],
)
def test_what_the_task_says_wins(task: TaskItem, route: tuple[str, str | None, str | None]) -> None:
    assert told(task) == route


@pytest.mark.parametrize(
    ("voice", "resource"),
    [(BIG_VOICE, "seed-tts-1.0"), (NEW_VOICE, "seed-tts-2.0"), ("S_mine", "seed-icl-2.0"), ("new", "seed-tts-2.0")],
)
def test_an_account_with_only_an_api_key_speaks_over_v3(voice: str, resource: str) -> None:
    assert told(TaskItem(None, "a", voice), has_v1=False) == ("v3", resource, None)


@pytest.mark.parametrize(
    "task",
    [TaskItem(None, "a", "BV001_streaming"), TaskItem(None, "a", "S_mine", resource_id="volc.megatts.default")],
)
def test_a_voice_of_v1_is_refused_to_such_an_account_with_the_reason(task: TaskItem) -> None:
    with pytest.raises(VoiceNotGrantedError, match="with an app id and an access key"):
        route_of(task, has_v1=False)


def test_an_unknown_voice_is_passed_on() -> None:
    assert refusal_of(TaskItem(None, "a", "somebody")) is None


def test_a_product_that_is_not_known_has_the_abilities_that_fit_best() -> None:
    assert route_of(TaskItem(None, "a", "somebody", resource_id="seed-tts-2.5")).family is BIG_2
    assert route_of(TaskItem(None, "a", "somebody", resource_id="another")).family is BIG
    assert route_of(TaskItem(None, "a", "S_mine", resource_id="another")).family is CLONE_2
    assert route_of(TaskItem(None, "a", "S_mine", resource_id="seed-icl-1.0-concurr")).family is CLONE


def test_a_task_is_billed_by_the_product_that_speaks_it() -> None:
    assert product_of(TaskItem(None, "a", BIG_VOICE)) == "seed-tts-1.0"
    assert product_of(TaskItem(None, "a", "somebody", resource_id="seed-tts-2.0")) == "seed-tts-2.0"
