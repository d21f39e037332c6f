"""What became of a batch that is answered at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from volcengine_client.errors import CapacityError, DeadlineCutError, StoreError, VolcengineError
from volcengine_client.models import PoolReport, TaskItem
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.jobs.chunks import Outcome, failed_outcome, name_of
from volcengine_gateway.jobs.keeping import Keeping
from volcengine_gateway.jobs.kept_file import Kept, Subtitled
from volcengine_gateway.jobs.sounds import Sound, bought_in


@dataclass(slots=True)
class Spoken:
    """What became of a batch: by name of the sound what was found and what was tried."""

    sounds: Sequence[Sound]
    found: dict[str, Kept]
    of: dict[str, Speech | VolcengineError]
    pool: PoolReport
    keeping: Keeping
    fetched: dict[str, bytes] = field(default_factory=dict)
    subtitled: dict[tuple[str, str], Subtitled] = field(default_factory=dict)
    names: Sequence[str] = field(init=False)
    first: Mapping[str, int] = field(init=False)
    bought: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        """Know at which task each sound stands first, and what was bought for whom."""
        self.names = [sound.name for sound in self.sounds]
        self.first = _firsts(self.names)
        self.bought = bought_in(self.sounds, self.of)

    @property
    def known(self) -> Mapping[str, Kept]:
        """The files that are there now."""
        spoken = {
            name: Kept(name, outcome.duration_ms, has_words=outcome.words is not None)
            for name, outcome in self.of.items()
            if isinstance(outcome, Speech) and name not in self.keeping.lost
        }
        return {**self.found, **spoken}

    def audio_for(self, index: int) -> bytes:
        """Return a task's audio as far as the answer has room for it, each further time for an equal task too."""
        name = self.names[index]
        outcome = self.of.get(name)
        audio = outcome.audio if isinstance(outcome, Speech) else self.fetched.get(name, b"")
        has_room = self.first[name] == index or self.keeping.room.take(len(audio))
        return audio if has_room else b""

    @property
    def late_count(self) -> int:
        """How many sounds there was no time for."""
        return sum(isinstance(outcome, VolcengineError) and is_late(outcome) for outcome in self.of.values())

    def outcome(self, index: int, task: TaskItem) -> Outcome | None:
        """Return what a job should know of a task from the start; None: it has to be spoken."""
        name = self.names[index]
        outcome, characters = self.of.get(name), characters_billed(task.text)
        if task.subtitles is not None and not isinstance(outcome, VolcengineError):
            return None  # it is found there, and gets its subtitles
        if isinstance(outcome, VolcengineError):
            is_open = is_late(outcome) or isinstance(outcome, StoreError)
            return None if is_open else failed_outcome(index, task, outcome, characters=characters)
        duration_ms = outcome.duration_ms if outcome is not None else self.found[name].duration_ms
        return Outcome(
            index=index,
            task_id=name_of(task, index),
            characters=characters,
            kept_as=name,
            duration_ms=duration_ms,
            bought_characters=self.bought[index],
        )


def _firsts(names: Sequence[str]) -> dict[str, int]:
    """Return where each name stands first, in that order."""
    firsts: dict[str, int] = {}
    for index, name in enumerate(names):
        firsts.setdefault(name, index)
    return firsts


def is_late(error: VolcengineError) -> bool:
    """Tell whether a task failed for want of time, so that a job can go on with it."""
    return isinstance(error, CapacityError | DeadlineCutError)
