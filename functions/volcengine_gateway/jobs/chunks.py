"""What a job has in files: its tasks and their outcomes, a chunk each, a line each. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from volcengine_client.errors import VolcengineError
from volcengine_client.limits import JOB_CHUNK_TASKS
from volcengine_client.models import TaskError, TaskItem

TASK: TypeAdapter[TaskItem] = TypeAdapter(TaskItem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one task: audio or an error, never neither (I4).

    Attributes:
        index: Its place in the job, from 0.
        task_id: As the task said, or its number.
        characters: Of its text, as the upstream bills them.
        kept_as: The name of its audio's file; None when it failed.
        duration_ms: Of the audio.
        subtitles_as: The name of their file; None: it wanted none.
        bought_characters: That were spoken for this task; the others were found. Of SSML they may be more than it has,
            since each call has the tags of the whole.
        error: Why there is no audio.
    """

    index: int
    task_id: str
    characters: int
    kept_as: str | None = None
    duration_ms: int | None = None
    subtitles_as: str | None = None
    bought_characters: int = 0
    error: TaskError | None = None

    def __post_init__(self) -> None:
        """Hold the law."""
        assert (self.kept_as is None) == (self.error is not None)
        assert self.bought_characters >= 0


def name_of(task: TaskItem, index: int) -> str:
    """Return a task's id, or its number in the job."""
    return task.task_id or f"task_{index + 1}"


def failed_outcome(index: int, task: TaskItem, error: VolcengineError, *, characters: int) -> Outcome:
    """Return the outcome of a task that has no audio."""
    return Outcome(index=index, task_id=name_of(task, index), characters=characters, error=TaskError.of(error))


def tasks_file(job_id: str, chunk: int) -> str:
    """Return the name of a chunk's tasks."""
    return f"jobs/{job_id}/tasks/{chunk:06}.jsonl"


def outcomes_file(job_id: str, chunk: int) -> str:
    """Return the name of a chunk's outcomes."""
    return f"jobs/{job_id}/outcomes/{chunk:06}.jsonl"


def chunk_count_of(task_count: int) -> int:
    """Return how many chunks so many tasks have."""
    return -(-task_count // JOB_CHUNK_TASKS)


def chunked(tasks: Sequence[TaskItem]) -> Iterable[Sequence[TaskItem]]:
    """Yield the tasks of each chunk."""
    return (tasks[start : start + JOB_CHUNK_TASKS] for start in range(0, len(tasks), JOB_CHUNK_TASKS))


def written_tasks(tasks: Iterable[TaskItem]) -> bytes:
    """Return a file of tasks."""
    return b"\n".join(TASK.dump_json(task, exclude_none=True) for task in tasks)


def read_tasks(content: bytes) -> list[TaskItem]:
    """Return the tasks in a file of ours."""
    return [TASK.validate_json(line) for line in content.splitlines()]


def written_outcomes(outcomes: Iterable[Outcome]) -> bytes:
    """Return a file of outcomes."""
    return b"\n".join(json.dumps(_told(outcome), ensure_ascii=False).encode() for outcome in outcomes)


def read_outcomes(content: bytes | None) -> dict[int, Outcome]:
    """Return the outcomes in a file of ours, by index; none when there is no file yet."""
    outcomes = [_outcome(json.loads(line)) for line in (content or b"").splitlines()]
    return {outcome.index: outcome for outcome in outcomes}


def _told(outcome: Outcome) -> dict[str, object]:
    told = asdict(outcome)
    told["error"] = None if outcome.error is None else outcome.error.model_dump()
    return told


def _outcome(told: dict[str, object]) -> Outcome:
    error = told.pop("error")
    return Outcome(**told, error=None if error is None else TaskError.model_validate(error))  # type: ignore[arg-type]
