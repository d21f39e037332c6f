"""Voices: what an id says of itself, and how the simulator lets it sound. Pure."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass


class Family(enum.Enum):
    """The product a voice belongs to; its value is the resource by which the account is granted and counted."""

    SMALL = "volc.tts.default"
    BIG = "volc.service_type.10029"
    CLONE = "volc.megatts.default"
    SECOND = "seed-tts-2.0"  # not spoken by v1
    DIALOGUE = "s2s"  # not spoken by any speech API

    @property
    def is_on_v3(self) -> bool:
        """Whether `POST /api/v3/tts/unidirectional` can speak voices of this family."""
        return self not in {Family.SMALL, Family.DIALOGUE}

    @property
    def is_on_v1(self) -> bool:
        """Whether `POST /api/v1/tts` can speak voices of this family."""
        return self not in {Family.SECOND, Family.DIALOGUE}


# What v3 calls the products: the family that speaks there, and the name under which its calls are counted.
PRODUCTS = {
    "seed-tts-1.0": (Family.BIG, Family.BIG.value),
    "volc.service_type.10029": (Family.BIG, Family.BIG.value),
    "seed-tts-1.0-concurr": (Family.BIG, "volc.service_type.10048"),
    "volc.service_type.10048": (Family.BIG, "volc.service_type.10048"),
    "seed-tts-2.0": (Family.SECOND, Family.SECOND.value),
    "seed-icl-1.0": (Family.CLONE, Family.CLONE.value),
    "seed-icl-1.0-concurr": (Family.CLONE, "seed-icl-1.0-concurr"),
    "volc.megatts.default": (Family.CLONE, Family.CLONE.value),
    "seed-icl-2.0": (Family.CLONE, "seed-icl-2.0"),
}

# The first pattern that an id matches decides.
_SHAPES = (
    (re.compile(r"^B[VR]\d{3}"), Family.SMALL),
    (re.compile(r"_uranus_"), Family.SECOND),
    (re.compile(r"_jupiter_|^saturn_"), Family.DIALOGUE),
    (re.compile(r"^(S_|icl_)."), Family.CLONE),
    (re.compile(r"_(moon|mars|wvae)_|^(ICL|multi)_|_bigtts$"), Family.BIG),
)

_CLUSTERS = {
    "volcano_tts": {Family.SMALL, Family.BIG},
    "volcano_mega": {Family.BIG, Family.CLONE},
    "volcano_mega_concurr": {Family.BIG, Family.CLONE},
    "volcano_icl": {Family.CLONE},
    "volcano_icl_concurr": {Family.CLONE},
}

_ENGLISH = {"BV027", "BV040", "BV138", "BV502", "BV503", "BV504", "BV505", "BV506", "BV511", "BV516"}
_JAPANESE = {"BV520", "BV521", "BV522", "BV524"}
_MALE = {
    *("BR001", "BV002", "BV004", "BV006", "BV008", "BV012", "BV019", "BV021", "BV026", "BV033", "BV050", "BV051"),
    *("BV056", "BV061", "BV063", "BV100", "BV102", "BV107", "BV119", "BV120", "BV123", "BV142", "BV143", "BV158"),
    *("BV159", "BV212", "BV213", "BV214", "BV227", "BV401", "BV408", "BV410", "BV411", "BV417", "BV418", "BV426"),
    *("BV437", "BV504", "BV516", "BV524", "BV531", "BV702"),
}


def family_of(voice_type: str) -> Family | None:
    """Return the family that the shape of an id tells; None when no voice has such an id."""
    return next((family for shape, family in _SHAPES if shape.search(voice_type)), None)


def is_in_cluster(family: Family, cluster: str) -> bool:
    """Whether voices of *family* are spoken in the cluster that a request names."""
    return family in _CLUSTERS.get(cluster, ())


def is_cluster(cluster: str) -> bool:
    """Whether there is such a cluster."""
    return cluster in _CLUSTERS


def language_of(voice_type: str) -> str:
    """Return `en`, `ja` or `cmn`."""
    number = voice_type[:5]
    if number in _ENGLISH or re.match(r"(ICL_)?en_", voice_type):
        return "en"
    if number in _JAPANESE or re.match(r"(ICL_)?(ja|jp)_", voice_type):
        return "ja"
    return "cmn"


@dataclass(frozen=True, slots=True)
class Sound:
    """How a voice sounds.

    Attributes:
        language: `en`, `ja` or `cmn`.
        pitch_hz: The lowest note of the voice; the highest is half as much again.
        formant_percent: Length of the vocal tract: below 100 darker, above 100 brighter.
    """

    language: str
    pitch_hz: int
    formant_percent: int


def sound_of(voice_type: str) -> Sound:
    """Give every id a voice of its own, always the same."""
    low, high = hashlib.sha256(voice_type.encode()).digest()[:2]
    is_male = "_male" in voice_type or voice_type[:5] in _MALE
    if is_male:
        return Sound(language_of(voice_type), 75 + low % 35, 93 + high % 9)
    return Sound(language_of(voice_type), 140 + low % 60, 107 + high % 11)
