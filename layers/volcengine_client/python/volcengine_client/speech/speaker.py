"""The port of whatever speaks."""

from __future__ import annotations

from typing import Protocol

from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech


class Speaker(Protocol):
    """An account at the upstream, whatever its API."""

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Speak one text: one attempt."""
        ...
