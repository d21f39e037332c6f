"""The known voices, as `voices.csv` lists them, and how one looks for them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from pathlib import Path

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import VOICE_QUERY_CHARACTERS_MAX, VOICE_SUGGESTIONS_KEPT

NEAR_COUNT = 8  # ids with the most pairs of letters in common, among which the likest is looked for
SLIPS_MAX, SLIPS_MAX_SHORT = 2, 1  # letters that may be wrong, missing or too many in an id, and in a short one
SHORT_CHARACTERS = 20

SPEECH_TO_SPEECH = "speech-to-speech"  # the family that no API for texts speaks


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """What is known of a voice.

    Attributes:
        voice_type: Its id.
        name: As the upstream calls it.
        languages: Their codes (BCP 47); a dialect or accent of Chinese by its place, as in `zh-Sichuan`; `auto` for
            about thirty more, which the voice tells by the text.
        gender: `female` or `male`, of the voice as it sounds; `unknown` where sources disagree.
        family: The name of its family.
        styles: What a task's `emotion` may be, where public lists agree on that; none: nobody says.
    """

    voice_type: str
    name: str
    languages: tuple[str, ...]
    gender: str
    family: str
    styles: tuple[str, ...]

    def speaks(self, language: str) -> bool:
        """Tell whether it is listed for a language; `en` stands for every kind of English."""
        asked = language.casefold()
        return any(f"{known.casefold()}-".startswith(f"{asked}-") for known in self.languages)


@cache
def entries() -> tuple[VoiceEntry, ...]:
    """Return all known voices, by id; reads `voices.csv` the first time."""
    with Path(__file__).with_name("voices.csv").open(encoding="utf-8", newline="") as file:
        read = [
            VoiceEntry(
                voice_type=row["voice_type"],
                name=row["name"],
                languages=_listed(row["languages"]),
                gender=row["gender"],
                family=row["family"],
                styles=_listed(row["styles"]),
            )
            for row in csv.DictReader(file)
        ]
    return tuple(sorted(read, key=lambda entry: entry.voice_type))


def found(
    *, language: str | None = None, gender: str | None = None, family: str | None = None, q: str | None = None
) -> list[VoiceEntry]:
    """Return the known voices that are all that is asked for, by id; letters' case never matters.

    Args:
        language: A code, or the first part of some: `zh` finds `zh-CN` and `zh-Sichuan`.
        gender: `female`, `male` or `unknown`.
        family: The name of a family.
        q: A part of the id or the name.

    Raises:
        InvalidRequestError: No known voice has such a language, gender or family, or *q* is too long;
            `details["fields"]` names what would do.
    """
    _check("language", language, languages())
    _check("gender", gender, genders())
    _check("family", family, families())
    if q is not None and len(q) > VOICE_QUERY_CHARACTERS_MAX:
        raise InvalidRequestError.of_field("q", f"q should have at most {VOICE_QUERY_CHARACTERS_MAX} characters")
    part = (q or "").casefold()
    return [
        entry
        for entry in entries()
        if (language is None or entry.speaks(language))
        and (gender is None or entry.gender == gender.casefold())
        and (family is None or entry.family == family.casefold())
        and (part in entry.voice_type.casefold() or part in entry.name.casefold())
    ]


@cache
def languages() -> tuple[str, ...]:
    """Return the codes that find something, first parts included."""
    codes = {code for entry in entries() for code in entry.languages}
    return tuple(sorted(codes | {code.partition("-")[0] for code in codes}))


@cache
def genders() -> tuple[str, ...]:
    """Return the genders that find something."""
    return tuple(sorted({entry.gender for entry in entries()}))


@cache
def families() -> tuple[str, ...]:
    """Return the families that find something."""
    return tuple(sorted({entry.family for entry in entries()}))


@lru_cache(maxsize=VOICE_SUGGESTIONS_KEPT)
def likest(voice_type: str) -> str | None:
    """Return the known id that somebody may have meant who wrote another one; None when none is like it.

    That is one with only a slip of difference, or with more at its end, or whose name was given for its id. About a
    millisecond, so that even a batch of nothing but strange ids is soon through.
    """
    written = voice_type.casefold()
    begun = [known for known, _ in _known_pairs() if known.casefold().startswith(f"{written}_")]
    named = [entry.voice_type for entry in _speakable() if entry.name.casefold() == written]
    if begun or named:
        return min(begun or named, key=lambda known: (len(known), known))
    pairs = _pairs(written)
    near = sorted(_known_pairs(), key=lambda known: (-len(known[1] & pairs), known[0]))[:NEAR_COUNT]
    slips, known_id = min((_slips(known.casefold(), written), known) for known, _ in near)
    return known_id if slips <= (SLIPS_MAX_SHORT if len(written) < SHORT_CHARACTERS else SLIPS_MAX) else None


def _slips(known: str, written: str) -> int:
    """Return how many letters are wrong, missing or too many."""
    steps = SequenceMatcher(None, known, written, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for kind, a, b, c, d in steps if kind != "equal")


@cache
def _known_pairs() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((entry.voice_type, _pairs(entry.voice_type.casefold())) for entry in _speakable())


def _speakable() -> list[VoiceEntry]:
    return [entry for entry in entries() if entry.family != SPEECH_TO_SPEECH]


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[place : place + 2] for place in range(len(text) - 1))


def _check(field: str, asked: str | None, known: Sequence[str]) -> None:
    if asked is not None and asked.casefold() not in {one.casefold() for one in known}:
        raise InvalidRequestError.of_field(field, f"{field} should be one of {', '.join(known)}")


def _listed(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(";")) if cell else ()
