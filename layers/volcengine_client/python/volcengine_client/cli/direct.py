"""A batch that is spoken from here, without a gateway."""

from __future__ import annotations

import asyncio

from volcengine_client.cli.progress import BatchProgress
from volcengine_client.client import VolcengineConcurrentTTS
from volcengine_client.errors import BatchStoppedError
from volcengine_client.models import TaskResult
from volcengine_client.out_folder import OutFolder, Piece
from volcengine_client.speaking import Speaking

STOPPING = "Finishing what is being spoken; Ctrl-C again abandons it"


async def speak_directly(
    client: VolcengineConcurrentTTS, folder: OutFolder, progress: BatchProgress, *, ahead: int
) -> bool:
    """Speak what is missing in a folder; tell whether all of it was tried.

    No more than *ahead* results wait to be kept. When this is cancelled, what is being spoken is still finished and
    kept: it will be paid for.

    Raises:
        CredentialsError: The account was rejected; nothing was bought.
        OSError: The folder can't be written.
    """
    pieces = folder.missing
    speaking = client.generate_each([piece.task for piece in pieces], ahead=ahead)
    keeping = asyncio.create_task(_keep(client, speaking, folder, progress))
    try:
        await asyncio.shield(keeping)
    except asyncio.CancelledError:
        speaking.stop()
        progress.say(STOPPING)
        await keeping
        return False
    return True


async def _keep(
    client: VolcengineConcurrentTTS, speaking: Speaking, folder: OutFolder, progress: BatchProgress
) -> None:
    async for index, result in speaking:
        if result.error is not None and result.error.code == BatchStoppedError.code:
            return  # all that was spoken came before
        piece = folder.missing[index]
        await asyncio.to_thread(_settle, folder, piece, result)
        if result.error is None:
            progress.spoken(piece, folder.alike_count(piece))
        else:
            progress.failed(folder.alike_count(piece))
        slots = client.slots()
        if slots is not None:
            progress.slots(*slots)


def _settle(folder: OutFolder, piece: Piece, result: TaskResult) -> None:
    if result.error is None:
        folder.keep(piece, result, result.audio)
    else:
        folder.fail(piece, result.error)
