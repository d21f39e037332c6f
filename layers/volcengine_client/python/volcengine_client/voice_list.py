"""The voices that there are: what each is, and whether and how it can be spoken with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from volcengine_client.limits import VOICE_WARNING_CHARACTERS_MAX, VOICE_WARNINGS_MAX
from volcengine_client.models import TaskItem, TaskResult
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.catalogue import VoiceEntry, found, likest
from volcengine_client.speech.route import route_of
from volcengine_client.speech.voices import CLONE_2, catalogue, family_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A known voice.

    Attributes:
        id: What a task's `voice_type` says.
        name: As the upstream calls it.
        languages: Their codes; a dialect or accent of Chinese by its place, as in `zh-Sichuan`; `auto` for about
            thirty more, which the voice tells by the text.
        gender: `female` or `male`, as it sounds; `unknown` where sources disagree.
        family: Voices of a family share a model, an order in the console and their abilities.
        resource: What the account must have been granted; None when nobody can tell.
        api: The upstream's API that speaks it; None when none can.
        styles: What a task's `emotion` may be, where known.
        why_not: Why it can't be spoken with; None when it can.
    """

    id: str
    name: str
    languages: tuple[str, ...]
    gender: str
    family: str
    resource: str | None
    api: str | None
    styles: tuple[str, ...]
    why_not: str | None


def voices(
    *, language: str | None = None, gender: str | None = None, family: str | None = None, q: str | None = None
) -> list[Voice]:
    """Return the known voices that are all that is asked for, by id; no account and no network is needed.

    An account may have to order a voice in the console before it can be spoken with, and may have voices of its own.

    Args:
        language: A code, or the first part of some: `zh` finds `zh-CN` and `zh-Sichuan`.
        gender: `female`, `male` or `unknown`.
        family: `small-model`, `seed-tts-1.0`, `seed-tts-2.0` or `speech-to-speech`.
        q: A part of the id or the name, in any case of letters.

    Raises:
        ValueError: No known voice has such a language, gender or family; the message names those that there are.
    """
    return [_voice(entry) for entry in found(language=language, gender=gender, family=family, q=q)]


def warning_of(voice_type: str, *, is_likest_told: bool = True) -> str | None:
    """Return what to tell somebody who wants to speak with a voice that nobody knows; None for any other.

    Cloned voices are known to their owners only, and not warned of.
    """
    if voice_type in catalogue() or family_of(voice_type) is CLONE_2:
        return None
    is_long = len(voice_type) > VOICE_WARNING_CHARACTERS_MAX
    warning = f"unknown voice {voice_type[:VOICE_WARNING_CHARACTERS_MAX]}{'…' if is_long else ''}"
    known = likest(voice_type) if is_likest_told else None
    return warning if known is None else f"{warning}; did you mean {known}?"


def warnings_of(tasks: Iterable[TaskItem]) -> list[str]:
    """Return the warnings of a batch, each once, the first twenty."""
    return list(_warnings(tasks).values())[:VOICE_WARNINGS_MAX]


def warn(results: Sequence[TaskResult], tasks: Sequence[TaskItem]) -> None:
    """Give the results of a batch their warnings; which voice was meant is told for the first twenty strange ones."""
    warnings = _warnings(tasks)
    for result, task in zip(results, tasks, strict=True):
        result.warning = "; ".join(filter(None, (warnings.get(task.voice_type), result.warning))) or None


def _warnings(tasks: Iterable[TaskItem]) -> dict[str, str]:
    """Return the warnings of a batch by voice."""
    warnings: dict[str, str] = {}
    for voice_type in dict.fromkeys(task.voice_type for task in tasks):
        warning = warning_of(voice_type, is_likest_told=len(warnings) < VOICE_WARNINGS_MAX)
        if warning is not None:
            warnings[voice_type] = warning
    return warnings


@cache
def _voice(entry: VoiceEntry) -> Voice:
    task = TaskItem(text="1", voice_type=entry.voice_type)
    refusal = refusal_of(task)
    return Voice(
        id=entry.voice_type,
        name=entry.name,
        languages=entry.languages,
        gender=entry.gender,
        family=entry.family,
        resource=family_of(entry.voice_type).resource,
        api=route_of(task).api if refusal is None else None,
        styles=entry.styles,
        why_not=refusal.message if refusal else None,
    )
