"""Which family a voice belongs to, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from volcengine_client.speech.catalogue import entries


@dataclass(frozen=True, slots=True)
class Family:
    """Voices that share a model, an order in the console and a set of abilities.

    Attributes:
        name: As people call it.
        resource: What the account must have been granted; None when nobody can tell.
        cluster: What the v1 API calls the family's machines; None when v1 can't speak these voices.
        v3_resource: What the v3 API calls the family; None when v3 can't speak these voices.
        speed_min: Lowest ratio of speed, v1.
        speed_max: Highest ratio of speed, v1.
        volume_field: The v1 field that makes these voices louder.
        volume_min: Lowest ratio of that field.
        volume_max: Highest ratio of that field.
        has_pitch: Whether v1 can change the pitch.
        is_big: Whether v1 takes an emotion only together with `enable_emotion`, a silence only together with
            `enable_trailing_silence_audio`, and a language as `explicit_language`.
        is_second: Whether v3 knows the words' times as `enable_subtitle`, and takes no SSML.
    """

    name: str
    resource: str | None
    cluster: str | None
    v3_resource: str | None = None
    speed_min: float = 0.2
    speed_max: float = 3.0
    volume_field: str = "volume_ratio"
    volume_min: float = 0.1
    volume_max: float = 3.0
    has_pitch: bool = True
    is_big: bool = False
    is_second: bool = False


SMALL = Family("small-model", "volc.tts.default", "volcano_tts")
BIG = Family(
    "seed-tts-1.0",
    "volc.service_type.10029",
    "volcano_tts",
    "seed-tts-1.0",
    speed_min=0.1,
    speed_max=2.0,
    volume_field="loudness_ratio",
    volume_min=0.5,
    volume_max=2.0,
    has_pitch=False,
    is_big=True,
)
CLONE = Family(
    "cloned",
    "volc.megatts.default",
    "volcano_icl",
    "seed-icl-1.0",
    volume_field="loudness_ratio",
    volume_min=0.5,
    volume_max=2.0,
    has_pitch=False,
    is_big=True,
)
CLONE_2 = Family("cloned (2.0)", "seed-icl-2.0", None, "seed-icl-2.0", is_second=True)
BIG_2 = Family("seed-tts-2.0", "seed-tts-2.0", None, "seed-tts-2.0", is_second=True)
SPEECH_TO_SPEECH = Family("speech-to-speech", None, None)
UNKNOWN = Family("unknown", None, "volcano_tts")  # the upstream decides, with all that a small voice can do

_FAMILIES = {family.name: family for family in (SMALL, BIG, BIG_2, SPEECH_TO_SPEECH)}  # those in the catalogue


@cache
def catalogue() -> dict[str, Family]:
    """Return the families of all known voices by id; reads `voices.csv` the first time."""
    return {entry.voice_type: _FAMILIES[entry.family] for entry in entries()}


def family_of(voice_type: str) -> Family:
    """Return the family of a voice: the catalogue's, or what the form of its id says; `UNKNOWN` for any other."""
    return catalogue().get(voice_type) or _family_by_rule(voice_type)


def _family_by_rule(voice_type: str) -> Family:
    if voice_type.startswith("saturn_") or "_jupiter_" in voice_type:
        return SPEECH_TO_SPEECH
    if "_uranus_" in voice_type:
        return BIG_2
    if voice_type.startswith(("BV", "BR")):
        return SMALL
    if voice_type.startswith(("S_", "icl_")):
        return CLONE_2
    if voice_type.startswith(("ICL_", "multi_")) or any(
        mark in voice_type for mark in ("_moon_", "_mars_", "_wvae_", "_emo_v2_")
    ):
        return BIG
    return UNKNOWN
