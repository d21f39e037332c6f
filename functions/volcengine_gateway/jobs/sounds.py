"""What has to be heard of a batch: each task's file, and the segments of which it is made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from volcengine_client.errors import VolcengineError
from volcengine_client.models import TaskItem
from volcengine_client.segments import segments_of_task
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.jobs.kept_file import Kept


@dataclass(frozen=True, slots=True)
class Sound:
    """What has to be heard of one task.

    Attributes:
        task: What is to be said.
        name: Of its file.
        segments: What calls speak of it, in order, each with the name of its file; alone when one call can speak all.
    """

    task: TaskItem
    name: str
    segments: Sequence[tuple[str, TaskItem]]

    @classmethod
    def of(cls, task: TaskItem, name_of: Callable[[TaskItem], str]) -> Sound:
        """Return what has to be heard of *task*."""
        name, segments = name_of(task), segments_of_task(task)
        if len(segments) == 1:
            return cls(task, name, [(name, task)])
        return cls(task, name, [(name_of(segment), segment) for segment in segments])

    @property
    def is_joined(self) -> bool:
        """Whether its file is made of several."""
        return len(self.segments) > 1

    def parts_in(self, known: Mapping[str, Kept]) -> Sequence[tuple[TaskItem, Kept]]:
        """Return its segments with their files; all of it with its own file where a segment is no longer kept."""
        parts = [(segment, known[name]) for name, segment in self.segments if name in known]
        return parts if len(parts) == len(self.segments) else [(self.task, known[self.name])]

    def error_in(self, of: Mapping[str, Speech | VolcengineError], lost: Collection[str]) -> str | None:
        """Return the name of the segment for which there is no file; one that will never have one comes first."""
        failed = [name for name, _ in self.segments if isinstance(of.get(name), VolcengineError) or name in lost]
        for_good = [name for name in failed if not _is_retryable(of.get(name))]
        return next(iter([*for_good, *failed]), None)


def _is_retryable(outcome: Speech | VolcengineError | None) -> bool:
    return isinstance(outcome, VolcengineError) and outcome.retryable


def missing_in(sounds: Iterable[Sound], found: Collection[str]) -> Mapping[str, TaskItem]:
    """Return the segments that have to be spoken, equal ones once, by the names of their files."""
    return {
        name: segment
        for sound in sounds
        if sound.name not in found
        for name, segment in sound.segments
        if name not in found
    }


def parts_wanted(sounds: Iterable[Sound], found: Collection[str]) -> Iterable[str]:
    """Return the names of segments that matter: of what is not found whole, and of what wants subtitles."""
    return (
        name
        for sound in sounds
        if sound.is_joined and (sound.name not in found or sound.task.subtitles is not None)
        for name, _ in sound.segments
    )


def bought_in(sounds: Sequence[Sound], of: Mapping[str, object]) -> Sequence[int]:
    """Return the characters that were bought for each task; a segment of several counts for the first."""
    paid: set[str] = set()
    bought: list[int] = []
    for sound in sounds:
        new = {name: segment for name, segment in sound.segments if isinstance(of.get(name), Speech)}
        bought.append(sum(characters_billed(segment.text) for name, segment in new.items() if name not in paid))
        paid |= new.keys()
    return bought
