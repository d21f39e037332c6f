"""Speech that is kept, so that the same is never paid twice (I8).

A file's name is a keyed hash of everything that shapes the sound, so a list of names tells nobody what was said (I6).
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError
from volcengine_client.limits import STORE_REQUESTS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.sound import shape_of
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_gateway.jobs.store import Files

PURPOSE = b"volcengine-concurrent-tts: names of kept speech, 1"
KEEP_WAITS_MS = (500, 1_000, 2_000, 4_000, 8_000)  # between tries to keep a file, each of which tries for a while
DURATION, SIZE = "duration-ms", "bytes"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of speech: its name, how long it plays, and how large it is where that matters."""

    name: str
    duration_ms: int
    byte_count: int = 0


class KeptSpeech:
    """The files of one account's speech.

    Args:
        files: Where they are.
        account: The pool of the account.
        key: Of the hash.
        nonce: Makes names that no other batch finds; "": the same sound has the same name.
    """

    def __init__(self, files: Files, *, account: str, key: bytes, nonce: str = "") -> None:
        self._files = files
        self._shared = [account, *([nonce] if nonce else [])]
        self._key = hmac.digest(key, PURPOSE, "sha256")

    def name_of(self, task: TaskItem) -> str:
        """Return the name of the file that a task's audio has, whoever asked for it."""
        shape = [self._shared, *shape_of(task)]
        return f"speech/{hmac.new(self._key, json.dumps(shape).encode(), sha256).hexdigest()}.{task.encoding}"

    async def find(self, names: Iterable[str]) -> Mapping[str, Kept]:
        """Return which of the files are there.

        Raises:
            StoreError: No answer in time.
        """
        asked = sorted(set(names))
        found = await asyncio.gather(*map(self._files.about, asked))
        return {name: _kept(name, about) for name, about in zip(asked, found, strict=True) if about is not None}

    async def find_within(self, names: Iterable[str], *, within_ms: int) -> tuple[Mapping[str, Kept], AbstractSet[str]]:
        """Return which of any number of files are there, and those for which there was no time to look.

        Raises:
            StoreError: No answer in time.
        """
        unchecked = dict.fromkeys(names)
        ahead = iter(list(unchecked))
        found: dict[str, Kept] = {}

        async def look() -> None:
            for name in ahead:
                about = await self._files.about(name)
                del unchecked[name]
                if about is not None:
                    found[name] = _kept(name, about)

        looking = [asyncio.create_task(look()) for _ in range(STORE_REQUESTS_MAX)]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0, within_ms) / 1_000):
                    await asyncio.gather(*looking)
        finally:
            for one in looking:
                one.cancel()
        return found, unchecked.keys()

    async def keep(self, name: str, speech: Speech) -> None:
        """Keep a file.

        Raises:
            StoreError: No answer in time.
        """
        about = {DURATION: str(speech.duration_ms), SIZE: str(len(speech.audio))}
        await self._files.put(name, speech.audio, about=about)


def _kept(name: str, about: Mapping[str, str]) -> Kept:
    return Kept(name, int(about[DURATION]), int(about[SIZE]))


class KeepingSpeaker:
    """A speaker whose every file is kept before its slot takes the next call.

    So what a sudden end of this process loses is what was in the air, never more than the slots it had.
    """

    def __init__(self, speaker: Speaker, kept: KeptSpeech, *, clock: Clock) -> None:
        self._speaker = speaker
        self._kept = kept
        self._clock = clock

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        speech = await self._speaker.speak(task, call=call, timeout_ms=timeout_ms)
        name = self._kept.name_of(task)
        await self._keep(name, speech)
        return replace(speech, audio=b"", kept_as=name)

    async def _keep(self, name: str, speech: Speech) -> None:
        """Keep what was bought, however often that takes; this slot buys nothing more meanwhile."""
        for wait_ms in KEEP_WAITS_MS:
            try:
                await self._kept.keep(name, speech)
            except StoreError:
                await self._clock.sleep(wait_ms)
            else:
                return
        await self._kept.keep(name, speech)
