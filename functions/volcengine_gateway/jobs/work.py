"""The work of one slice of a job: tasks come from its files, chunk by chunk, and their outcomes go there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from volcengine_client.errors import JobCancelledError, LoginRejectedError, StoreError, VolcengineError
from volcengine_client.limits import JOB_CHUNK_TASKS
from volcengine_client.models import TaskItem
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.jobs.chunks import (
    Outcome,
    failed_outcome,
    name_of,
    outcomes_file,
    read_outcomes,
    read_tasks,
    tasks_file,
    written_outcomes,
)
from volcengine_gateway.jobs.job import Counts, Job, Whole
from volcengine_gateway.jobs.kept import KeptSpeech
from volcengine_gateway.jobs.kept_file import Kept
from volcengine_gateway.jobs.sounds import Sound
from volcengine_gateway.jobs.store import Files


@dataclass(slots=True)
class _Chunk:
    """A chunk under way.

    Attributes:
        number: Its place in the job.
        tasks: By index in the job.
        outcomes: So far, by index.
        left: Tasks that are neither finished nor put off to a later slice.
        is_new: Whether there are outcomes that no file has yet.
    """

    number: int
    tasks: dict[int, TaskItem]
    outcomes: dict[int, Outcome]
    left: set[int] = field(default_factory=set)
    is_new: bool = False

    @property
    def is_whole(self) -> bool:
        return len(self.outcomes) == len(self.tasks)

    def settle(self, outcome: Outcome) -> None:
        self.outcomes[outcome.index] = outcome
        self.left.discard(outcome.index)
        self.is_new = True

    def summed_up(self) -> Whole:
        outcomes = self.outcomes.values()
        return Whole(
            chunk=self.number,
            done_count=sum(outcome.error is None for outcome in outcomes),
            failed_count=sum(outcome.error is not None for outcome in outcomes),
            bought_character_count=sum(outcome.bought_characters for outcome in outcomes),
        )


@dataclass(slots=True, eq=False)
class _Task:
    """A task that is being spoken: the files of its segments, and which of them are still to come.

    Attributes:
        index: Its place in the job.
        sound: What has to be heard of it.
        missing: The files of its segments that are not there yet; equal segments have one.
        bought_characters: That were spoken for it in this slice.
        is_over: Whether it has its outcome, or was put off to a later slice.
    """

    index: int
    sound: Sound
    missing: set[str]
    bought_characters: int = 0
    is_over: bool = False


@dataclass(slots=True, eq=False)
class _Sound:
    """A segment that is being spoken, and the tasks that wait for it, the one that pays first."""

    name: str
    segment: TaskItem
    waiting: list[_Task]


class JobWork:
    """Hands out what has to be spoken of a job's tasks, and writes down what becomes of them.

    Only as many chunks are in memory as the slots need, two at the least, and those in which a task was put off. Equal
    segments are spoken once: the first is handed out, the others get what comes of it. A task of several segments is
    over when they are joined.

    Args:
        job: As it was when the slice began.
        files: Where its tasks are.
        kept: The account's speech.
        on_whole: Told of each chunk whose tasks all have an outcome, in order.
        slot_count: Calls that it may have at once; so much is handed out, and more, that none of them has to wait.

    Attributes:
        spoken_count: Tasks that got audio.
        failed_count: Tasks that got an error for good.
        put_off_count: Tasks that were left to a later slice.
        loose_character_count: Bought for tasks that did not get their audio in this slice.
        trouble: The last error that may be over in a later slice.
    """

    def __init__(
        self,
        job: Job,
        *,
        files: Files,
        kept: KeptSpeech,
        on_whole: Callable[[Whole], Awaitable[None]],
        slot_count: int = 1,
    ) -> None:
        self.spoken_count = 0
        self.failed_count = 0
        self.put_off_count = 0
        self.loose_character_count = 0
        self.trouble: VolcengineError | None = None
        self._job = job
        self._files = files
        self._kept = kept
        self._on_whole = on_whole
        self._ahead = max(JOB_CHUNK_TASKS, slot_count)
        self._chunks: dict[int, _Chunk] = {}
        self._sounds: dict[int, _Sound] = {}  # those that are handed out, by number
        self._numbers: dict[str, int] = {}  # the same by name
        self._next_number = 0
        self._joining: set[asyncio.Task[None]] = set()
        self._bug: BaseException | None = None  # that ended a joining
        self._whole: dict[int, Whole] = {}  # behind one that is not
        self._next_whole = job.whole_chunk_count
        self._known: dict[str, Kept] = {}  # spoken in this slice, or found
        self._has_bought = False
        self._stopped_by: VolcengineError | None = None
        self._changed = asyncio.Event()
        self._noting = asyncio.Lock()

    @property
    def has_moved(self) -> bool:
        """Whether any task got its outcome, or any sound was bought."""
        return bool(self.spoken_count or self.failed_count) or self._has_bought

    # --- what is spoken ---------------------------------------------------------

    @property
    def open_count(self) -> int:
        return len(self._sounds)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        for number in range(self._job.whole_chunk_count, self._job.chunk_count):
            await self._until_open(self._ahead - 1)
            if self.put_off_count >= JOB_CHUNK_TASKS:
                break
            chunk = await self._load(number)
            for index in sorted(chunk.left):
                async for sound in self._sounds_of(index, chunk.tasks[index]):
                    yield sound
        await self._until_open(0)

    def is_wanted(self, number: int) -> bool:
        return not all(task.is_over for task in self._sounds[number].waiting)

    def settle(self, number: int, outcome: Speech | VolcengineError) -> None:
        sound = self._sounds.pop(number)
        del self._numbers[sound.name]
        waiting = [task for task in sound.waiting if not task.is_over]
        if isinstance(outcome, Speech):
            assert outcome.kept_as == sound.name
            self._has_bought = True
            self._known[sound.name] = Kept(sound.name, outcome.duration_ms, has_words=outcome.words is not None)
            bought = characters_billed(sound.segment.text)
            self.loose_character_count += bought
            for task in waiting[:1]:
                task.bought_characters += bought
            for task in waiting:
                task.missing.discard(sound.name)
                self._finish(task)
        else:
            for task in waiting:
                self._fail(task, outcome)
        self._changed.set()

    def settle_rest(self, error: VolcengineError) -> None:
        """Leave what is open to the next slice."""
        self.trouble = self.trouble or error

    def stop(self, reason: VolcengineError) -> None:
        """Let no further call start; the first reason stays."""
        self._stopped_by = self._stopped_by or reason
        self._changed.set()

    async def end(self, *, within_ms: int) -> None:
        """Wait for the files that are being joined; those that take too long are left to a later slice.

        For a job that was cancelled there is none, and nobody waits.
        """
        if self._joining and not isinstance(self._stopped_by, JobCancelledError):
            await asyncio.wait(self._joining, timeout=within_ms / 1_000)
        if self._bug is not None:
            raise self._bug
        late = list(self._joining)
        for joining in late:
            joining.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            self.put_off_count += len(late)
            self.trouble = StoreError("the segments of a long text could not be joined in time")

    async def _until_open(self, count: int) -> None:
        """Wait until no more than *count* sounds are open, and write down what becomes whole meanwhile.

        Raises:
            VolcengineError: What it was stopped by.
        """
        while True:
            self._changed.clear()
            await self.note()
            if self._stopped_by is not None:
                raise self._stopped_by
            if self.open_count + len(self._joining) <= count:
                return
            await self._changed.wait()

    async def _sounds_of(self, index: int, whole: TaskItem) -> AsyncIterator[tuple[int, TaskItem]]:
        """Hand out the segments of a task that nobody has spoken and nobody is speaking."""
        sound = Sound.of(whole, self._kept.name_of)
        names = {name for name, _ in sound.segments}
        if sound.is_joined:
            self._known |= await self._kept.find(names - self._known.keys())
        is_whole = sound.name in self._known
        task = _Task(index, sound, set() if is_whole else names - self._known.keys())
        self._finish(task)
        for name, segment in dict(sound.segments).items():
            if task.is_over or name not in task.missing:
                continue
            if name in self._numbers:
                self._sounds[self._numbers[name]].waiting.append(task)
                continue
            number = self._numbers[name] = self._next_number
            self._next_number += 1
            self._sounds[number] = _Sound(name, segment, [task])
            yield number, segment
            await self._until_open(2 * self._ahead - 1)

    def _finish(self, task: _Task) -> None:
        """Give a task its audio when no segment of it is missing any more."""
        if task.is_over or task.missing:
            return
        task.is_over = True
        kept = self._known.get(task.sound.name)
        if kept is not None and task.sound.task.subtitles is None:
            self._settle(task, kept)
        else:
            joining = asyncio.create_task(self._join(task))
            self._joining.add(joining)
            joining.add_done_callback(self._joined)

    def _joined(self, joining: asyncio.Task[None]) -> None:
        self._joining.discard(joining)
        if not joining.cancelled():
            self._bug = self._bug or joining.exception()
        self._changed.set()

    async def _join(self, task: _Task) -> None:
        """Make a task's file of those of its segments, and its subtitles."""
        sound, subtitles_as = task.sound, None
        try:
            kept = self._known.get(sound.name) or await self._kept.join(sound)
            self._known[sound.name] = kept
            if sound.task.subtitles is not None:
                subtitles_as = (await self._kept.subtitle(sound, self._known)).name
        except VolcengineError as error:
            self._fail(task, error)
        else:
            self._settle(task, kept, subtitles_as=subtitles_as)

    def _settle(self, task: _Task, kept: Kept, *, subtitles_as: str | None = None) -> None:
        outcome = _found(task.index, task.sound.task, kept, bought_characters=task.bought_characters)
        self._chunk_of(task.index).settle(replace(outcome, subtitles_as=subtitles_as))
        self.loose_character_count -= task.bought_characters
        self.spoken_count += 1

    def _fail(self, task: _Task, error: VolcengineError) -> None:
        """End a task with an error, or leave it to a later slice."""
        task.is_over = True
        chunk, text = self._chunk_of(task.index), task.sound.task.text
        if error.retryable or isinstance(error, LoginRejectedError):
            if isinstance(error, StoreError):
                self.stop(error)  # what can't be kept is not bought
            chunk.left.discard(task.index)
            self.put_off_count += 1
            self.trouble = error
        else:
            chunk.settle(failed_outcome(task.index, task.sound.task, error, characters=characters_billed(text)))
            self.failed_count += 1

    def _chunk_of(self, index: int) -> _Chunk:
        return self._chunks[index // JOB_CHUNK_TASKS]

    # --- what is written down ---------------------------------------------------

    async def _load(self, number: int) -> _Chunk:
        """Read a chunk, and find what was spoken for it before, by whomever."""
        content, known = await asyncio.gather(
            self._files.get(tasks_file(self._job.job_id, number)),
            self._files.get(outcomes_file(self._job.job_id, number)),
        )
        assert content is not None, "a job's files outlive it"
        tasks = dict(enumerate(read_tasks(content), start=number * JOB_CHUNK_TASKS))
        chunk = _Chunk(number, tasks, read_outcomes(known))
        chunk.left = tasks.keys() - chunk.outcomes.keys()
        names = {index: self._kept.name_of(tasks[index]) for index in chunk.left}
        found = await self._kept.find(sorted(set(names.values())))
        for index, name in names.items():
            kept = self._known.get(name) or found.get(name)
            if kept is None:
                continue
            if tasks[index].subtitles is not None:
                self._known[name] = kept
            else:
                chunk.settle(_found(index, tasks[index], kept))
                self.spoken_count += 1
        self._chunks[number] = chunk
        return chunk

    async def note(self, *, is_last: bool = False) -> None:
        """Write down the outcomes of whole chunks, in order; of all when it is the last time.

        Raises:
            StoreError: No answer in time; the next slice finds the audio where it is kept.
        """
        async with self._noting:
            for chunk in list(self._chunks.values()):
                if chunk.is_whole or is_last:
                    await self._write(chunk)
                if chunk.is_whole and not chunk.is_new:
                    self._whole[chunk.number] = chunk.summed_up()
                    del self._chunks[chunk.number]
            while self._next_whole in self._whole:
                await self._on_whole(self._whole[self._next_whole])
                del self._whole[self._next_whole]
                self._next_whole += 1

    def part(self) -> Counts:
        """Return the counts of what is behind a chunk that is not whole, and so not counted yet."""
        parts = [*self._whole.values(), *(chunk.summed_up() for chunk in self._chunks.values())]
        return Counts(
            done_count=sum(part.done_count for part in parts),
            failed_count=sum(part.failed_count for part in parts),
            bought_character_count=sum(part.bought_character_count for part in parts),
        )

    async def _write(self, chunk: _Chunk) -> None:
        """Write down the outcomes of a chunk that no file has yet."""
        if chunk.is_new:
            outcomes = [chunk.outcomes[index] for index in sorted(chunk.outcomes)]
            await self._files.put(outcomes_file(self._job.job_id, chunk.number), written_outcomes(outcomes))
            chunk.is_new = len(outcomes) < len(chunk.outcomes)


def _found(index: int, task: TaskItem, kept: Kept, *, bought_characters: int = 0) -> Outcome:
    return Outcome(
        index=index,
        task_id=name_of(task, index),
        characters=characters_billed(task.text),
        kept_as=kept.name,
        duration_ms=kept.duration_ms,
        bought_characters=bought_characters,
    )
