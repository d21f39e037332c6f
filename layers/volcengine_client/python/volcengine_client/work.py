"""The port between a batch and what it speaks: a list, a job's files, a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from volcengine_client.errors import VolcengineError
from volcengine_client.models import TaskItem
from volcengine_client.speech.speech import Speech


class Work(Protocol):
    """Tasks to speak, and where their outcomes go."""

    @property
    def open_count(self) -> int:
        """Tasks handed out without an outcome."""
        ...

    def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        """Hand out the tasks, each under its number, as soon as they are at hand."""
        ...

    def is_wanted(self, index: int) -> bool:
        """Tell whether a task that was handed out still needs an outcome."""
        ...

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        """Give a task its outcome; the first one stands (I4)."""
        ...

    def settle_rest(self, error: VolcengineError) -> None:
        """End all that is open, and what was not handed out."""
        ...
