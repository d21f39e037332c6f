"""The files of the self-hosted server: audio goes out and lists of tasks come in, by signed addresses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from volcengine_client.errors import InvalidRequestError, VolcengineError
from volcengine_client.limits import UPLOAD_BYTES_MAX, UPLOAD_MAX_MS
from volcengine_gateway.incoming import too_large
from volcengine_gateway.jobs.local import FolderFiles
from volcengine_gateway.jobs.store import CONTENT_TYPES
from volcengine_gateway.problems import (
    AddressRefusedError,
    Answer,
    BodyLateError,
    answer_of_error,
    answer_of_json,
    status_of_file,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

AUDIO_PATH = "/audio/"
UPLOAD_PATH = "/uploads/"


class SignedFiles:
    """Serves the files of a folder to whoever has an address that the folder gave out.

    Args:
        files: The folder.
    """

    def __init__(self, files: FolderFiles) -> None:
        self._files = files

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve a request; False: it is for another door, and nothing was done."""
        path, method = scope["path"], scope["method"]
        if path.startswith(AUDIO_PATH) and method in {"GET", "HEAD"}:
            await self._send_audio(scope, send)
        elif path.startswith(UPLOAD_PATH) and method == "PUT":
            answer = await self._answer_to_upload(scope, receive)
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            await send_answer(send, status=answer.status, headers=answer.headers, body=body)
        else:
            return False
        return True

    async def _send_audio(self, scope: Scope, send: Send) -> None:
        name, asked = scope["path"].removeprefix(AUDIO_PATH), _query(scope)
        is_signed = self._files.is_signed(name, until=asked.get("until", ""), signature=asked.get("signature", ""))
        audio = await self._files.get(name) if is_signed else None
        kind = CONTENT_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        await send_answer(
            send,
            status=status_of_file(audio),
            headers={"Content-Type": kind, "Cache-Control": "private", "X-Content-Type-Options": "nosniff"},
            body=audio or b"",
            is_head=scope["method"] == "HEAD",
        )

    async def _answer_to_upload(self, scope: Scope, receive: Receive) -> Answer:
        try:
            await self._take(scope, receive)
        except VolcengineError as error:
            answer = answer_of_error(error, request_id=uuid.uuid4().hex)
            return Answer(answer.status, answer.body, {**answer.headers, "Content-Type": "application/json"})
        return answer_of_json("")

    async def _take(self, scope: Scope, receive: Receive) -> None:
        """Take a list, whole or not at all.

        Raises:
            AddressRefusedError: Nobody gave out this address, or its time is over.
            BatchTooLargeError: There is more than may be; the rest is not read.
            InvalidRequestError: The caller went away, or its list has another size than it said.
            BodyLateError: It takes too long.
            StoreError: It can't be kept.
        """
        name, asked = scope["path"].removeprefix(UPLOAD_PATH), _query(scope)
        until, size, signature = (asked.get(key, "") for key in ("until", "bytes", "signature"))
        if not self._files.is_signed_for_upload(name, until=until, size=size, signature=signature):
            raise AddressRefusedError("This address takes no upload, or no longer; ask POST /jobs for a new one")
        bytes_max = int(size) if size else UPLOAD_BYTES_MAX
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        if length.isdecimal() and (len(length) > 18 or int(length) > bytes_max):
            raise too_large(bytes_max)
        try:
            async with asyncio.timeout(UPLOAD_MAX_MS / 1_000):
                await self._files.take(name, _pieces(receive, bytes_max), byte_count=int(size) if size else None)
        except TimeoutError as exc:
            raise BodyLateError(f"The list should arrive within {UPLOAD_MAX_MS // 1_000} seconds") from exc


async def _pieces(receive: Receive, bytes_max: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, never more than *bytes_max* of it."""
    count = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidRequestError("The body ended early")
        piece = message.get("body", b"")
        count += len(piece)
        if count > bytes_max:
            raise too_large(bytes_max)
        yield piece
        if not message.get("more_body", False):
            return


def _query(scope: Scope) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}


async def send_answer(
    send: Send, *, status: int, headers: Mapping[str, str], body: bytes, is_head: bool = False
) -> None:
    """Send an answer, whole."""
    told = {**headers, "Content-Length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in told.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"" if is_head else body})
