"""The upstream's v1 API: one POST, one JSON answer with the whole file in it."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any

from volcengine_client.errors import CredentialsError, UpstreamUnavailableError
from volcengine_client.models import TaskItem
from volcengine_client.speech import codes
from volcengine_client.speech.audio import duration_ms
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.options import v1_audio, v1_cluster, v1_request
from volcengine_client.speech.route import Route, v1_route_of
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.voices import catalogue
from volcengine_client.speech.wire import Answer, Wire
from volcengine_client.speech.words import words_in_frontend

__all__ = ["V1", "Login", "Speaker", "Speech", "Wire"]

PATH = "api/v1/tts"

# Encoders only add: mp3 fills up frames and leads in, up to 0.1 s. The upstream rounds what it states and may trim
# silence. So audio is whole when it is no shorter than this part of what was stated, less a constant for short ones.
WHOLE_PART = 0.9
WHOLE_SLACK_MS = 150


class V1:
    """Speak through one account over v1.

    Raises:
        CredentialsError: The login has no app id and access key.
    """

    def __init__(self, wire: Wire, login: Login) -> None:
        if not login.has_pair:
            raise CredentialsError("The v1 API takes an app id and an access key")
        self._wire = wire
        self._login = login
        catalogue()  # read its file here, not within a call

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Speak a task: one attempt under a request id of its own.

        What v1 can't do for the task's voice is refused before anything is sent. Audio comes back whole or not at all
        (I4). Cancellation closes the connection at once; `call` knows how far it had come.

        Args:
            task: What to speak.
            call: Is told when the request leaves and when the answer begins; may refuse at the last moment.
            timeout_ms: For all of it, connecting included.

        Raises:
            LeaseLostError: From `call`; nothing was sent.
            UpstreamRejectedError: And its subclasses: the same task would be refused again.
            UpstreamThrottledError: Too many calls; nothing was bought.
            UpstreamUnavailableError: Out of reach, busy, broken, or its audio was not whole.
            UpstreamTimeoutError: No whole answer in time.
        """
        route = v1_route_of(task)
        request_id = str(uuid.uuid4())
        body = json.dumps(self._body(task, route, request_id), ensure_ascii=False).encode()
        headers = {"Authorization": f"Bearer;{self._login.access_key}"}
        answer = await self._wire.post(PATH, headers=headers, body=body, call=call, timeout_ms=timeout_ms)
        return _speech_of(answer, task, route, request_id)

    def _body(self, task: TaskItem, route: Route, request_id: str) -> dict[str, Any]:
        return {
            # The token that counts is the header's; this one is only required to be there.
            "app": {"appid": self._login.app_id, "token": "token", "cluster": v1_cluster(route.family)},
            "user": {"uid": "volcengine-concurrent-tts"},
            "audio": v1_audio(task, route.family),
            "request": {"reqid": request_id, **v1_request(task, route.family, route.model)},
        }


def _speech_of(answer: Answer, task: TaskItem, route: Route, request_id: str) -> Speech:
    body = codes.parsed(answer.body)
    code, message = codes.code_and_message_in(body)
    error = codes.error_of(answer.http_status, code, message, resource=route.resource, log_id=answer.log_id)
    if error is not None:
        raise error
    if body.get("reqid", request_id) != request_id:
        raise UpstreamUnavailableError("The upstream answered another request than this one")
    try:
        audio = _decoded(body.get("data"))
        whole_ms = duration_ms(audio, task.encoding, task.sample_rate)
        _check_whole(whole_ms, _stated_ms(body.get("addition")))
    except ValueError as exc:
        raise UpstreamUnavailableError(f"The upstream's audio was not whole: {exc}") from exc
    words = words_in_frontend(_in(body.get("addition"), "frontend")) if task.subtitles else None
    return Speech(audio, whole_ms, codes.checked_log_id(answer.log_id), words=words)


def _check_whole(whole_ms: int, stated_ms: int | None) -> None:
    if stated_ms is not None and whole_ms < stated_ms * WHOLE_PART - WHOLE_SLACK_MS:
        raise ValueError(f"it plays {whole_ms} ms of {stated_ms} ms")


def _decoded(content: Any) -> bytes:
    if not isinstance(content, str) or not content:
        raise ValueError("there is no audio")
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None


def _stated_ms(addition: Any) -> int | None:
    """Return the duration that the upstream states, if it does; it does so in a string."""
    stated = _in(addition, "duration")
    is_number = isinstance(stated, (str, int)) and re.fullmatch(r"[0-9]{1,9}", str(stated))
    return int(stated) if is_number and stated is not None else None


def _in(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, dict) else None
