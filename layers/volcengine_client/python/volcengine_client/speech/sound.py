"""Pure: what shapes the sound of a task, and nothing else of it."""

from __future__ import annotations

from volcengine_client.models import TaskItem
from volcengine_client.speech.text import cleaned


def shape_of(task: TaskItem) -> list[str | int | float | None]:
    """Return what two tasks have in common that sound the same, as JSON can hold it; whoever keeps sound hashes it."""
    return [
        task.voice_type,
        cleaned(task.text),
        task.encoding,
        task.sample_rate,
        task.speed,
        task.volume,
        task.pitch,
        task.emotion,
    ]
