"""A batch that is spoken from here, without a gateway."""

from __future__ import annotations

import asyncio
from functools import partial

from volcengine_client.cli.plan import Plan
from volcengine_client.cli.progress import BatchProgress
from volcengine_client.client import VolcengineConcurrentTTS
from volcengine_client.errors import BatchStoppedError, UpstreamUnavailableError
from volcengine_client.joined_segments import Part, join_parts
from volcengine_client.kept_segments import KeptSegments
from volcengine_client.models import TaskError, TaskResult
from volcengine_client.out_folder import OutFolder, Piece
from volcengine_client.speech.text import characters_billed

STOPPING = "Finishing what is being spoken; Ctrl-C again abandons it"
MAKING_MAX = 2  # pieces that are being made at once, beside what is spoken


class DirectBatch:
    """What is missing in a folder, spoken from here.

    A segment of a longer text is a file of its own as soon as it is spoken, until the text is whole: what a sudden end
    of this process loses is what was in the air, and no more than *ahead* results besides.

    Args:
        client: Speaks.
        folder: What is missing.
        progress: Is told of it.
        ahead: Results that may wait to be kept.
    """

    def __init__(
        self, client: VolcengineConcurrentTTS, folder: OutFolder, progress: BatchProgress, *, ahead: int
    ) -> None:
        self._client = client
        self._folder = folder
        self._progress = progress
        self._kept = KeptSegments(folder.folder)
        self._plan = Plan(folder, self._kept)
        self._names = list(self._plan.segments)
        self._indexes = {name: index for index, name in enumerate(self._names)}
        self._dropped: set[int] = set()
        self._making: set[asyncio.Task[None]] = set()
        self._speaking = client.generate_each(list(self._plan.segments.values()), ahead=ahead)

    async def run(self) -> bool:
        """Speak what is missing; tell whether all of it was tried.

        When this is cancelled, what is being spoken is still finished and kept: it will be paid for.

        Raises:
            CredentialsError: The account was rejected; nothing was bought.
            OSError: The folder can't be written.
        """
        keeping = asyncio.create_task(self._keep_all())
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            self._speaking.stop()
            self._progress.say(STOPPING)
            await keeping
            return False
        return True

    async def _keep_all(self) -> None:
        try:
            for piece in self._plan.at_hand:
                await self._make(piece)
            async for index, result in self._speaking:
                if result.error is not None and result.error.code == BatchStoppedError.code:
                    if index in self._dropped:
                        continue
                    break  # all that was spoken came before
                await self._settle(self._names[index], result)
            await self._made(at_most=0)
        finally:
            await asyncio.gather(*self._making, return_exceptions=True)
        await asyncio.to_thread(self._kept.tidy, is_all_finished=self._folder.is_finished)

    async def _settle(self, name: str, result: TaskResult) -> None:
        """Keep what a call brought, then make the pieces that are whole by it, while the next results come."""
        pieces = [piece for piece in self._plan.wanted_by[name] if self._plan.is_open(piece)]
        if result.error is not None:
            for piece in pieces:
                await self._fail(piece, result.error)
            return
        part = Part(partial(bytes, result.audio), result.subtitles)
        if not all(map(self._plan.is_one_call, self._plan.wanted_by[name])):
            await asyncio.to_thread(self._kept.keep, name, part.audio(), part.told)
        characters = characters_billed(self._plan.segments[name].text)
        for piece in pieces:
            share = self._folder.alike_count(piece) / len(self._plan.names_of(piece))
            self._progress.heard(piece, characters, share=share)
            characters = 0
        for piece in self._plan.settle(name):
            await self._make(piece, part if self._plan.is_one_call(piece) else None)
        slots = self._client.slots()
        if slots is not None:
            self._progress.slots(*slots)

    async def _fail(self, piece: Piece, error: TaskError) -> None:
        """Give a piece its error; what else it would have needed is not bought."""
        for name in self._plan.give_up(piece):
            self._dropped.add(self._indexes[name])
            self._speaking.drop(self._indexes[name])
        await asyncio.to_thread(self._folder.fail, piece, error)
        self._progress.failed(piece, self._folder.alike_count(piece))

    async def _make(self, piece: Piece, part: Part | None = None) -> None:
        """Begin to make a piece; some are made at once."""
        self._making.add(asyncio.create_task(self._make_whole(piece, part)))
        await self._made(at_most=MAKING_MAX - 1)

    async def _made(self, *, at_most: int) -> None:
        """Wait until no more than so many pieces are being made; raises what one of them raised."""
        while len(self._making) > at_most:
            done, self._making = await asyncio.wait(self._making, return_when=asyncio.FIRST_COMPLETED)
            for making in done:
                making.result()

    async def _make_whole(self, piece: Piece, part: Part | None) -> None:
        """Bring a piece's files to their places; then the segments of which they were made go."""
        count = self._folder.alike_count(piece)
        if self._folder.audio_of(piece) is not None:
            await asyncio.to_thread(self._folder.subtitle, piece)
            self._progress.subtitled(count)
            return
        if await asyncio.to_thread(self._join, piece, part):
            self._progress.spoken(piece, count, characters=0)
        else:
            self._progress.failed(piece, count)
        await asyncio.to_thread(self._kept.drop, self._plan.finish(piece))

    def _join(self, piece: Piece, part: Part | None) -> bool:
        """Make the audio and the subtitles of a piece; tell whether that was possible."""
        parts = [part] if part is not None else [self._kept.part(name) for name in self._plan.names_of(piece)]
        path = self._folder.part()
        try:
            with path.open("wb") as file:
                joined = join_parts(piece.task, parts, file.write)
            self._folder.keep(piece, joined, path)
        except ValueError as exc:
            self._folder.fail_with(piece, UpstreamUnavailableError(f"The audio could not be joined: {exc}"))
            return False
        finally:
            path.unlink(missing_ok=True)
        return True
