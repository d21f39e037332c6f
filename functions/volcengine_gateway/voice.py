"""The way to the upstream: one set of connections for all logins."""

from __future__ import annotations

from typing import Protocol

from volcengine_client.clock import Clock
from volcengine_client.errors import ConcurrencyExceededError
from volcengine_client.models import TaskItem
from volcengine_client.speech.account import AccountSpeaker
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.wire import Wire


class Voice(Protocol):
    """Makes speakers that share one set of connections."""

    def speaker(self, login: Login) -> Speaker:
        """Return what speaks with *login*."""
        ...

    async def close_idle(self) -> None:
        """Close connections that idled for too long."""
        ...

    async def close(self) -> None:
        """Close everything."""
        ...


class UpstreamVoice:
    """The upstream's APIs, over one set of connections."""

    def __init__(self, endpoint: str, *, clock: Clock) -> None:
        self._wire = Wire(endpoint, clock=clock)

    def speaker(self, login: Login) -> AccountSpeaker:
        return AccountSpeaker(self._wire, login)

    async def close_idle(self) -> None:
        await self._wire.close_idle()

    async def close(self) -> None:
        await self._wire.close()


class CountedSpeaker:
    """A speaker whose refusals for concurrency are counted: they say that the account is used by others too."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.refused_count = 0

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        try:
            return await self._speaker.speak(task, call=call, timeout_ms=timeout_ms)
        except ConcurrencyExceededError:
            self.refused_count += 1
            raise
