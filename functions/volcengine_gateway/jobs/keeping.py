"""Speech on its way to where it is kept, and the room that an answer has for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from volcengine_client.errors import StoreError
from volcengine_client.limits import ADDRESS_BYTES, RESULT_BYTES
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_gateway.jobs.kept import KeptSpeech


class Room:
    """The bytes of an answer that are left for audio.

    Args:
        tasks: All of the batch; each result takes some room even without audio.
        bytes_max: How large the answer may be.
    """

    def __init__(self, tasks: Sequence[TaskItem], bytes_max: int) -> None:
        self._left = bytes_max - sum(RESULT_BYTES + ADDRESS_BYTES + 6 * len(task.task_id or "") for task in tasks)

    def take(self, audio_bytes: int) -> bool:
        """Take room for a file, in base64; False when there is none."""
        return self._take(-(-audio_bytes // 3) * 4)

    def take_text(self, text: str) -> bool:
        """Take room for a text, in JSON; False when there is none."""
        return self._take(len(json.dumps(text, ensure_ascii=False).encode()))

    def _take(self, needed: int) -> bool:
        if needed > self._left:
            return False
        self._left -= needed
        return True


class Keeping:
    """A speaker's files on their way to where they are kept, while the next calls go on.

    Args:
        kept: Where that is.
        room: What the answer has for audio.
        answered: The files that stand in the answer; segments of longer ones don't.
        count: How many files will be kept.
        on_all_kept: Called when all of them are.

    Attributes:
        room: As above.
        lost: The files that could not be kept.
    """

    def __init__(
        self,
        kept: KeptSpeech,
        room: Room,
        *,
        answered: Collection[str],
        count: int = 0,
        on_all_kept: Callable[[], None] = lambda: None,
    ) -> None:
        self.room = room
        self._left_count = count
        self._on_all_kept = on_all_kept
        self._answered = answered
        self._kept = kept
        self.lost: set[str] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def around(self, speaker: Speaker) -> Speaker:
        """Return a speaker whose files are kept; those that have no room in the answer are kept only."""
        return _KeepingSpeaker(speaker, self)

    def keep(self, task: TaskItem, speech: Speech) -> Speech:
        """Begin to keep a file; return its speech, with the audio only where the answer has room for it."""
        name = self._kept.name_of(task)
        keeping = asyncio.create_task(self._keep(name, speech))
        self._under_way[name] = keeping
        has_room = name in self._answered and self.room.take(len(speech.audio))
        return replace(speech, audio=speech.audio if has_room else b"", kept_as=name)

    async def _keep(self, name: str, speech: Speech) -> None:
        try:
            await self._kept.keep(name, speech)
        except StoreError:
            self.lost.add(name)  # the next who asks for it pays again
        else:
            self._left_count -= 1
            if not self._left_count:
                self._on_all_kept()

    async def settled(self, *, within_ms: int) -> None:
        """Wait until every file is where it is kept; those that take too long are lost to all but this answer."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=max(0, within_ms) / 1_000)
        for name, keeping in self._under_way.items():
            if not keeping.done():
                self.lost.add(name)


class _KeepingSpeaker:
    def __init__(self, speaker: Speaker, keeping: Keeping) -> None:
        self._speaker = speaker
        self._keeping = keeping

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        return self._keeping.keep(task, await self._speaker.speak(task, call=call, timeout_ms=timeout_ms))
