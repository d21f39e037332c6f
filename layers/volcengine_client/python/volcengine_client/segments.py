"""Tasks as the segments that calls speak, and the segments' sound as the tasks' sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from volcengine_client.errors import (
    BatchStoppedError,
    CapacityError,
    DeadlineCutError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.limits import SEGMENT_BYTES_MAX, SSML_CHARACTERS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech.join import Joiner
from volcengine_client.speech.segments import segments_of
from volcengine_client.speech.speech import Speech, Word
from volcengine_client.speech.ssml import ssml_segments_of, ssml_text_of
from volcengine_client.speech.subtitles import Heard, subtitles_of
from volcengine_client.work import Work


def segments_of_task(task: TaskItem) -> Sequence[TaskItem]:
    """Return what has to be spoken of a task, call by call; the task itself when one call can speak it."""
    is_ssml = task.text_type == "ssml"
    if len(task.text) <= SSML_CHARACTERS_MAX if is_ssml else len(task.text.encode()) <= SEGMENT_BYTES_MAX:
        return (task,)
    if is_ssml:
        texts = ssml_segments_of(task.text, characters_max=SSML_CHARACTERS_MAX)
    else:
        texts = segments_of(task.text, bytes_max=SEGMENT_BYTES_MAX)
    before, last = replace(task, silence_ms=None), len(texts) - 1  # silence is wanted after the whole
    segments = [replace(task if place == last else before, text=text) for place, text in enumerate(texts)]
    return segments or (task,)  # whoever speaks it says that there is nothing in it


def segment_count(tasks: Iterable[TaskItem], *, enough: int) -> int:
    """Return how many calls *tasks* need; *enough* when they are that many or more, without counting on."""
    count = 0
    for task in tasks:
        count += len(segments_of_task(task))
        if count >= enough:
            return enough
    return count


@dataclass(slots=True, eq=False)
class Whole:
    """A task whose segments are being spoken.

    Attributes:
        index: Of the task in its batch.
        segments: In order.
        spoken: What was spoken of them so far, by place.
        is_over: Whether the task has its outcome.
    """

    index: int
    segments: Sequence[TaskItem]
    spoken: dict[int, Speech] = field(default_factory=dict)
    is_over: bool = False

    @property
    def open_count(self) -> int:
        """Segments that were not spoken yet."""
        return len(self.segments) - len(self.spoken)


@dataclass(slots=True, eq=False)
class Segment:
    """A piece of a task short enough for one call, and how often it was tried."""

    whole: Whole
    place: int
    attempt_count: int = 0

    @property
    def task(self) -> TaskItem:
        """What to speak."""
        return self.whole.segments[self.place]


class Segments:
    """Hands out the segments of a batch's tasks, and gives each task its one outcome (I4).

    Args:
        work: Where the tasks come from and their outcomes go.

    Attributes:
        open_count: Segments that are still to be spoken, of tasks that were handed out.
    """

    def __init__(self, work: Work) -> None:
        self.open_count = 0
        self._work = work
        self._wholes: dict[int, Whole] = {}

    async def each(self) -> AsyncIterator[Segment]:
        """Hand out the segments of the tasks as they come."""
        async for index, task in self._work.tasks():
            whole = self._wholes[index] = Whole(index, segments_of_task(task))
            self.open_count += whole.open_count
            for place in range(len(whole.segments)):
                yield Segment(whole, place)

    def is_wanted(self, segment: Segment) -> bool:
        """Tell whether a call for it is still of use: a task of which one segment failed needs no other."""
        whole = segment.whole
        if not whole.is_over and not self._work.is_wanted(whole.index):
            self._end(whole, BatchStoppedError("nobody waits for this any more; nothing was bought"))
        return not whole.is_over

    def settle(self, segment: Segment, outcome: Speech | VolcengineError) -> None:
        """Say what became of a segment; with the last one, or the first that failed, its task has its outcome."""
        whole = segment.whole
        if whole.is_over:
            return
        if isinstance(outcome, VolcengineError):
            self._end(whole, outcome)
            return
        whole.spoken[segment.place] = outcome
        self.open_count -= 1
        if len(whole.spoken) == len(whole.segments):
            self._end(whole, _joined(whole))

    def settle_rest(self, error: VolcengineError) -> None:
        """End all that is open, and what was not handed out."""
        for whole in [whole for whole in self._wholes.values() if whole.spoken]:
            self._end(whole, _cut_by(error))
        for whole in self._wholes.values():
            whole.is_over = True
        self._wholes.clear()
        self.open_count = 0
        self._work.settle_rest(error)

    def _end(self, whole: Whole, outcome: Speech | VolcengineError) -> None:
        whole.is_over = True
        self.open_count -= whole.open_count
        del self._wholes[whole.index]
        self._work.settle(whole.index, outcome)


def _joined(whole: Whole) -> Speech | VolcengineError:
    parts = [whole.spoken[place] for place in range(len(whole.segments))]
    if len(parts) == 1:
        return _subtitled(parts[0], whole, parts, [0])
    task = whole.segments[0]
    try:
        joiner = Joiner(task.encoding, task.sample_rate)
        for part in parts:
            joiner.measure(part.audio)
    except ValueError as exc:
        return UpstreamUnavailableError(f"The upstream's audio could not be joined: {exc}")
    audio = b"".join([joiner.head(), *(joiner.body(part.audio) for part in parts), joiner.tail()])
    joined = Speech(audio, joiner.duration_ms, parts[0].log_id)
    return _subtitled(joined, whole, parts, joiner.starts_ms)


def _subtitled(speech: Speech, whole: Whole, parts: Sequence[Speech], starts_ms: Sequence[int]) -> Speech:
    """Return the speech of a task with its subtitles, if it wants any."""
    kind = whole.segments[0].subtitles
    if kind is None:
        return speech
    said = [
        heard(segment, start_ms, part.duration_ms, part.words)
        for segment, start_ms, part in zip(whole.segments, starts_ms, parts, strict=True)
    ]
    return replace(speech, subtitles=subtitles_of(said, kind))


def heard(segment: TaskItem, start_ms: int, duration_ms: int, words: Sequence[Word] | None) -> Heard:
    """Return a segment as it was spoken."""
    is_ssml = segment.text_type == "ssml"
    return Heard(ssml_text_of(segment.text) if is_ssml else segment.text, start_ms, duration_ms, words)


def _cut_by(error: VolcengineError) -> VolcengineError:
    """Return what a task failed with that was spoken in part: it does not say that nothing was bought."""
    if isinstance(error, CapacityError):
        return DeadlineCutError("the deadline came while this was spoken; ask again")
    if isinstance(error, BatchStoppedError):
        return BatchStoppedError("the batch was stopped while this task was spoken; part of it was bought")
    return error
