"""The work of one slice of a job: tasks come from its files, chunk by chunk, and their outcomes go there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from volcengine_client.errors import LoginRejectedError, StoreError, VolcengineError
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
from volcengine_gateway.jobs.kept import Kept, KeptSpeech
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
            bought_character_count=sum(outcome.characters for outcome in outcomes if outcome.is_bought),
        )


class JobWork:
    """Hands out the tasks of a job that have no outcome yet, and writes down what becomes of them.

    No more than two chunks are in memory at once, but for those in which a task was put off. Equal tasks are spoken
    once: the first is handed out, the others get what comes of it.

    Args:
        job: As it was when the slice began.
        files: Where its tasks are.
        kept: The account's speech.
        on_whole: Told of each chunk whose tasks all have an outcome, in order.

    Attributes:
        spoken_count: Tasks that got audio.
        failed_count: Tasks that got an error for good.
        put_off_count: Tasks that were left to a later slice.
        trouble: The last error that may be over in a later slice.
    """

    def __init__(
        self, job: Job, *, files: Files, kept: KeptSpeech, on_whole: Callable[[Whole], Awaitable[None]]
    ) -> None:
        self.spoken_count = 0
        self.failed_count = 0
        self.put_off_count = 0
        self.trouble: VolcengineError | None = None
        self._job = job
        self._files = files
        self._kept = kept
        self._on_whole = on_whole
        self._chunks: dict[int, _Chunk] = {}
        self._speaking: dict[str, set[int]] = defaultdict(set)  # tasks that wait for one file, by its name
        self._names: dict[int, str] = {}
        self._whole: dict[int, Whole] = {}  # behind one that is not
        self._next_whole = job.whole_chunk_count
        self._spoken: dict[str, Kept] = {}  # in this slice
        self._stopped_by: VolcengineError | None = None
        self._changed = asyncio.Event()
        self._noting = asyncio.Lock()

    @property
    def has_moved(self) -> bool:
        """Whether any task got its outcome."""
        return bool(self.spoken_count or self.failed_count)

    # --- what is spoken ---------------------------------------------------------

    @property
    def open_count(self) -> int:
        return len(self._speaking)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        for number in range(self._job.whole_chunk_count, self._job.chunk_count):
            await self._until_open(JOB_CHUNK_TASKS - 1)
            if self.put_off_count >= JOB_CHUNK_TASKS:
                break
            chunk = await self._load(number)
            for index in sorted(chunk.left):
                if self._is_first(index):
                    yield index, chunk.tasks[index]
        await self._until_open(0)

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        for one in sorted(self._speaking.pop(self._names[index], ())):
            chunk = self._chunk_of(one)
            task = chunk.tasks[one]
            if isinstance(outcome, Speech):
                assert outcome.kept_as is not None
                kept = self._spoken[outcome.kept_as] = Kept(outcome.kept_as, outcome.duration_ms)
                chunk.settle(_found(one, task, kept, is_bought=one == index))
                self.spoken_count += 1
            elif outcome.retryable or isinstance(outcome, LoginRejectedError):
                if isinstance(outcome, StoreError):
                    self.stop(outcome)  # what can't be kept is not bought
                chunk.left.discard(one)
                self.put_off_count += 1
                self.trouble = outcome
            else:
                chunk.settle(failed_outcome(one, task, outcome, characters=characters_billed(task.text)))
                self.failed_count += 1
        self._changed.set()

    def settle_rest(self, error: VolcengineError) -> None:
        """Leave what is open to the next slice."""
        self.trouble = self.trouble or error

    def stop(self, reason: VolcengineError) -> None:
        """Let no further call start."""
        self._stopped_by = reason
        self._changed.set()

    async def _until_open(self, count: int) -> None:
        """Wait until no more than *count* tasks are open, and write down what becomes whole meanwhile.

        Raises:
            VolcengineError: What it was stopped by.
        """
        while True:
            self._changed.clear()
            await self.note()
            if self._stopped_by is not None:
                raise self._stopped_by
            if self.open_count <= count:
                return
            await self._changed.wait()

    def _is_first(self, index: int) -> bool:
        """Tell whether nobody waits for this task's file yet; from now on it does."""
        waiting = self._speaking[self._names[index]]
        waiting.add(index)
        return len(waiting) == 1

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
            kept = self._spoken.get(name) or found.get(name)
            if kept is not None:
                chunk.settle(_found(index, tasks[index], kept, is_bought=False))
                self.spoken_count += 1
        self._names.update(names)
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
                    self._forget(chunk)
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

    def _forget(self, chunk: _Chunk) -> None:
        del self._chunks[chunk.number]
        for index in chunk.tasks:
            self._names.pop(index, None)


def _found(index: int, task: TaskItem, kept: Kept, *, is_bought: bool) -> Outcome:
    return Outcome(
        index=index,
        task_id=name_of(task, index),
        characters=characters_billed(task.text),
        kept_as=kept.name,
        duration_ms=kept.duration_ms,
        is_bought=is_bought,
    )
