"""Pure: what a task wants, in the words of each API; what its voice can't do there is refused, never dropped."""

from __future__ import annotations

import json
from typing import Any

from volcengine_client.errors import OptionRefusedError, TextRefusedError, VoiceNotGrantedError
from volcengine_client.models import TaskItem
from volcengine_client.speech.text import cleaned
from volcengine_client.speech.voices import SMALL, Family

V1_RATES = (8_000, 16_000, 24_000)  # hertz; v3 takes all that a task may ask for
V3_RATIO_MIN, V3_RATIO_MAX = 0.5, 2.0  # of speed and volume, which v3 tells as -50 to 100 percent more

# What people call languages, in the words of the small voices; any other word is passed on.
_SMALL_LANGUAGES = {
    "zh": "cn",
    "zh-cn": "cn",
    "en-us": "en",
    "en-gb": "en",
    "th": "thth",
    "vi": "vivn",
    "pt": "ptbr",
    "pt-br": "ptbr",
    "es": "esmx",
    "es-mx": "esmx",
}


def readable(task: TaskItem) -> str:
    """Return the text that is sent.

    Raises:
        TextRefusedError: Nothing of it could be read.
    """
    text = cleaned(task.text)
    if not text:
        raise TextRefusedError("There is nothing in the text that a voice could read")
    return text


def v1_cluster(family: Family) -> str:
    """Return what v1 calls a family's machines.

    Raises:
        VoiceNotGrantedError: v1 has none for it.
    """
    if family.cluster is None:
        needed = f"; it needs resource {family.resource} and the v3 API" if family.resource else ""
        raise VoiceNotGrantedError(f"The v1 API can't speak {family.name} voices{needed}")
    return family.cluster


def v1_audio(task: TaskItem, family: Family) -> dict[str, Any]:
    """Return v1's `audio`.

    Raises:
        OptionRefusedError: The family can't do something of it on v1.
    """
    fields: dict[str, Any] = {"voice_type": task.voice_type, "encoding": task.encoding}
    if task.sample_rate is not None:
        if task.sample_rate not in V1_RATES:
            allowed = ", ".join(map(str, V1_RATES))
            raise OptionRefusedError(f"The sample_rate of {family.name} voices should be one of {allowed}")
        fields["rate"] = task.sample_rate
    if task.speed is not None:
        _check_range("speed", task.speed, family.speed_min, family.speed_max, family)
        fields["speed_ratio"] = task.speed
    if task.volume is not None:
        _check_range("volume", task.volume, family.volume_min, family.volume_max, family)
        fields[family.volume_field] = task.volume
    if task.pitch:
        if not family.has_pitch:
            raise OptionRefusedError(f"The v1 API can't change the pitch of {family.name} voices; leave pitch out")
        fields["pitch_ratio"] = round(2 ** (task.pitch / 12), 4)
    return fields | _v1_style(task, family)


def _v1_style(task: TaskItem, family: Family) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if task.emotion is not None:
        fields["emotion"] = task.emotion
        if family.is_big:
            fields["enable_emotion"] = True
    if task.language is not None:
        if family.is_big:
            fields["explicit_language"] = task.language
        else:
            fields["language"] = _SMALL_LANGUAGES.get(task.language.lower(), task.language)
    return fields


def v1_request(task: TaskItem, family: Family, model: str | None) -> dict[str, Any]:
    """Return what v1's `request` holds of a task."""
    fields: dict[str, Any] = {"text": readable(task), "text_type": task.text_type, "operation": "query"}
    if task.silence_ms is not None:
        fields["silence_duration"] = task.silence_ms
        if family is not SMALL:
            fields["enable_trailing_silence_audio"] = True
    if task.subtitles is not None:
        fields["with_timestamp"] = 1
    if model is not None:
        fields["model"] = model
    return fields


def v3_params(task: TaskItem, family: Family, model: str | None) -> dict[str, Any]:
    """Return v3's `req_params`.

    Raises:
        OptionRefusedError: The family can't do something of it on v3.
        TextRefusedError: Nothing of the text could be read.
    """
    if task.text_type == "ssml" and family.is_second:
        raise OptionRefusedError(f"SSML does not work with {family.name} voices; give plain text")
    params: dict[str, Any] = {
        task.text_type if task.text_type == "ssml" else "text": readable(task),
        "speaker": task.voice_type,
        "audio_params": _v3_audio(task, family),
    }
    if model is not None:
        params["model"] = model
    additions = _v3_additions(task, family)
    if additions:
        params["additions"] = json.dumps(additions)  # a string: an object would be ignored
    return params


def _v3_audio(task: TaskItem, family: Family) -> dict[str, Any]:
    # A wav header would come again with every piece of the stream.
    fields: dict[str, Any] = {"format": "pcm" if task.encoding == "wav" else task.encoding}
    if task.sample_rate is not None:
        fields["sample_rate"] = task.sample_rate
    if task.speed is not None:
        fields["speech_rate"] = _v3_rate("speed", task.speed, family)
    if task.volume is not None:
        fields["loudness_rate"] = _v3_rate("volume", task.volume, family)
    if task.emotion is not None:
        fields["emotion"] = task.emotion
    if task.subtitles is not None:
        fields["enable_subtitle" if family.is_second else "enable_timestamp"] = True
    return fields


def _v3_additions(task: TaskItem, family: Family) -> dict[str, Any]:
    additions: dict[str, Any] = {}
    if task.silence_ms is not None:
        additions["silence_duration"] = task.silence_ms
    if task.language is not None:
        additions["explicit_language"] = task.language
    if task.pitch:
        if task.pitch != int(task.pitch):
            raise OptionRefusedError(f"The pitch of {family.name} voices should be whole semitones on the v3 API")
        additions["post_process"] = {"pitch": int(task.pitch)}
    return additions


def _v3_rate(name: str, ratio: float, family: Family) -> int:
    _check_range(name, ratio, V3_RATIO_MIN, V3_RATIO_MAX, family, " on the v3 API")
    return round((ratio - 1) * 100)


def _check_range(name: str, value: float, lowest: float, highest: float, family: Family, where: str = "") -> None:
    if not lowest <= value <= highest:
        raise OptionRefusedError(f"The {name} of {family.name} voices should be from {lowest:g} to {highest:g}{where}")
