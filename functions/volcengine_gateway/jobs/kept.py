"""Speech that is kept, so that the same is never paid twice (I8).

A file's name is a keyed hash of everything that shapes the sound, so a list of names tells nobody what was said (I6).
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from itertools import islice

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError, UpstreamUnavailableError
from volcengine_client.limits import STORE_REQUESTS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.segments import heard
from volcengine_client.speech.call import Call
from volcengine_client.speech.join import Joiner
from volcengine_client.speech.sound import shape_of
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech, Word
from volcengine_client.speech.subtitles import subtitles_of
from volcengine_gateway.jobs.kept_file import Kept, Subtitled
from volcengine_gateway.jobs.sounds import Sound
from volcengine_gateway.jobs.store import Files

PURPOSE = b"volcengine-concurrent-tts: names of kept speech, 1"
KEEP_WAITS_MS = (500, 1_000, 2_000, 4_000, 8_000)  # between tries to keep a file, each of which tries for a while
READ_AHEAD = 8  # segments in memory while files are joined, for one batch or slice
WORDS = ".words"  # the ending of the file that says when each word is heard
STARTS = ".starts"  # the ending of the file that says where each segment begins in the joined one
DURATION, SIZE, WORDED = "duration-ms", "bytes", "words"


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
        self._seats = asyncio.Semaphore(READ_AHEAD)
        self._next_in_line = asyncio.Lock()

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
        """Return which of any number of files are there, and those of which there was no answer in time."""
        unchecked = dict.fromkeys(names)
        ahead = iter(list(unchecked))
        found: dict[str, Kept] = {}

        async def look() -> None:
            for name in ahead:
                with suppress(StoreError):
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
        about = _about(speech.duration_ms, len(speech.audio))
        if speech.words is not None:  # first, since the file itself says that they are there
            await self._files.put(
                name + WORDS, json.dumps([[w.text, w.start_ms, w.end_ms] for w in speech.words]).encode()
            )
            about = {**about, WORDED: "1"}
        await self._files.put(name, speech.audio, about=about)

    async def join(self, sound: Sound) -> Kept:
        """Keep the file of a task whose segments are kept, without having more than a few of them in memory.

        Safe to repeat; the same segments make the same file.

        Raises:
            StoreError: No answer in time, or a segment is no longer there.
            UpstreamUnavailableError: The segments don't fit together; they never will.
        """
        async with self._seated(len(sound.segments)) as ahead:
            return await self._join(sound, ahead)

    @asynccontextmanager
    async def _seated(self, count: int) -> AsyncIterator[int]:
        """Wait for seats for so many segments, or for all there are; a long text has them to itself.

        So memory is bounded, and of many long texts each is finished before the next, whenever the slice ends.
        """
        count = min(count, READ_AHEAD)
        async with AsyncExitStack() as seats:
            async with self._next_in_line:
                for _ in range(count):
                    await seats.enter_async_context(self._seats)
            yield count

    async def _join(self, sound: Sound, ahead: int) -> Kept:
        names = [name for name, _ in sound.segments]
        joiner = Joiner(sound.task.encoding, sound.task.sample_rate)
        try:
            async for segment in self._each(names, ahead):
                joiner.measure(segment)
        except ValueError as exc:
            raise UpstreamUnavailableError(f"The audio could not be joined: {exc}", retryable=False) from exc

        async def pieces() -> AsyncIterator[bytes]:
            yield joiner.head()
            async for segment in self._each(names, ahead):
                yield joiner.body(segment)
            yield joiner.tail()

        await self._files.put(sound.name + STARTS, json.dumps(joiner.starts_ms).encode())
        await self._files.write(sound.name, pieces(), about=_about(joiner.duration_ms, joiner.total_bytes))
        return Kept(sound.name, joiner.duration_ms, joiner.total_bytes)

    async def subtitle(self, sound: Sound, known: Mapping[str, Kept]) -> Subtitled:
        """Keep the subtitles of a task whose file, and whose segments' files if they are there, are *known*.

        Those that were made before are taken, since what they were made of may no longer be there; and kept anew, so
        that they stay as long as the audio that is found with them.

        Raises:
            StoreError: No answer in time.
        """
        assert sound.task.subtitles is not None
        name = f"{sound.name}.{sound.task.subtitles}"
        made = await self._files.get(name)
        if made is None:
            async with self._seated(len(sound.segments)):
                content = (await self._subtitles_of(sound, known)).encode()
        else:
            content = made
        await self._files.put(name, content)
        return Subtitled(name, content.decode())

    async def _subtitles_of(self, sound: Sound, known: Mapping[str, Kept]) -> str:
        assert sound.task.subtitles is not None
        parts = sound.parts_in(known)
        starts = await self._starts_of(sound, parts)
        words = await asyncio.gather(*(self._words_of(kept) for _, kept in parts))
        said = [
            heard(part, start_ms, kept.duration_ms, told)
            for (part, kept), start_ms, told in zip(parts, starts, words, strict=True)
        ]
        return await asyncio.to_thread(subtitles_of, said, sound.task.subtitles)  # seconds, for the longest text

    async def _starts_of(self, sound: Sound, parts: Sequence[tuple[TaskItem, Kept]]) -> Sequence[int]:
        """Return where the segments begin in the file that was joined of them."""
        if len(parts) == 1:
            return [0]
        content = await self._files.get(sound.name + STARTS)
        if content is None:
            raise StoreError("a part of this task's audio is no longer kept; ask for it again")
        starts: list[int] = json.loads(content)
        return starts

    async def _words_of(self, kept: Kept) -> Sequence[Word] | None:
        content = await self._files.get(kept.name + WORDS) if kept.has_words else None
        return None if content is None else [Word(*told) for told in json.loads(content)]

    async def _each(self, names: Sequence[str], ahead: int) -> AsyncIterator[bytes]:
        """Read files in order, never more than *ahead* in memory."""
        reading: deque[asyncio.Task[bytes | None]] = deque()
        left = iter(names)
        try:
            while True:
                reading.extend(
                    asyncio.create_task(self._files.get(name)) for name in islice(left, ahead - len(reading))
                )
                if not reading:
                    return
                content = await reading[0]
                reading.popleft()
                if content is None:
                    raise StoreError("a part of this task's audio is no longer kept; ask for it again")
                yield content
        finally:
            for late in reading:
                late.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


def _about(duration_ms: int, byte_count: int) -> Mapping[str, str]:
    return {DURATION: str(duration_ms), SIZE: str(byte_count)}


def _kept(name: str, about: Mapping[str, str]) -> Kept:
    return Kept(name, int(about[DURATION]), int(about[SIZE]), has_words=WORDED in about)


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
