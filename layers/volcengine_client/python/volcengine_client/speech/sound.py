"""Pure: what shapes the sound of a task, and nothing else of it."""

from __future__ import annotations

from volcengine_client.models import TaskItem
from volcengine_client.speech.text import cleaned


def shape_of(task: TaskItem) -> list[str | int | float | None]:
    """Return what two tasks have in common that sound the same, as JSON can hold it; whoever keeps sound hashes it."""
    newer = {
        "language": task.language,
        "silence_ms": task.silence_ms,
        "text_type": None if task.text_type == "plain" else task.text_type,
        "model": task.model,
        "resource_id": task.resource_id,
    }
    return [
        task.voice_type,
        cleaned(task.text),
        task.encoding,
        task.sample_rate,
        task.speed,
        task.volume,
        task.pitch,
        task.emotion,
        # Named, and only when they are there, so that what was kept before they existed is still found.
        *(part for name, wish in newer.items() if wish is not None for part in (name, wish)),
    ]
