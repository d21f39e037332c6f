"""The upstream's v3 API: one POST, an answer in many JSON objects, each with a piece of the audio."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from volcengine_client.errors import TextRefusedError, UpstreamUnavailableError, VolcengineError
from volcengine_client.limits import UPSTREAM_ANSWER_BYTES_MAX, UPSTREAM_OBJECT_BYTES_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech import codes
from volcengine_client.speech.audio import SAMPLE_RATE_DEFAULT, duration_ms
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.options import v3_params
from volcengine_client.speech.route import Route, route_of
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.stream import Objects
from volcengine_client.speech.voices import catalogue
from volcengine_client.speech.wav import wav_header
from volcengine_client.speech.wire import Answer, Wire
from volcengine_client.speech.words import words_in_sentences

PATH = "api/v3/tts/unidirectional"

_CHARACTERS_MAX = 10**9  # what is more is no count


class V3:
    """Speak through one account over v3, by its API key if it has one, else by app id and access key."""

    def __init__(self, wire: Wire, login: Login) -> None:
        self._wire = wire
        self._login = login
        catalogue()  # read its file here, not within a call

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Speak a task: one attempt under a request id of its own.

        What v3 can't do for the task's voice is refused before anything is sent. Audio comes back whole or not at all
        (I4). The call is answered when the last object came, be it good or an error; a stream that breaks off before
        it leaves the call in doubt (I1). Cancellation closes the connection at once.

        Args:
            task: What to speak.
            call: Is told when the request leaves and when the answer ends; may refuse at the last moment.
            timeout_ms: For all of it, connecting included.

        Raises:
            LeaseLostError: From `call`; nothing was sent.
            UpstreamRejectedError: And its subclasses: the same task would be refused again.
            UpstreamThrottledError: Too many calls; nothing was bought.
            UpstreamUnavailableError: Out of reach, busy, broken, or its audio was not whole.
            UpstreamTimeoutError: No whole answer in time.
        """
        route = route_of(task, has_v1=False)
        body = {
            "user": {"uid": "volcengine-concurrent-tts"},
            "req_params": v3_params(task, route.family, route.model),
        }
        reading = Reading()
        answer = await self._wire.stream(
            PATH,
            headers=self._headers(route),
            body=json.dumps(body, ensure_ascii=False).encode(),
            call=call,
            timeout_ms=timeout_ms,
            take=reading.take,
        )
        return _speech_of(answer, reading, task, route)

    def _headers(self, route: Route) -> dict[str, str]:
        assert route.resource is not None, "every product of v3 has a name"
        login = self._login
        # Both at once are refused as a login that nobody knows.
        pair = {"X-Api-App-Id": login.app_id, "X-Api-Access-Key": login.access_key}
        return ({"X-Api-Key": login.api_key} if login.api_key else pair) | {
            "X-Api-Resource-Id": route.resource,
            "X-Api-Request-Id": str(uuid.uuid4()),
            "X-Control-Require-Usage-Tokens-Return": "text_words",
        }


class Reading:
    """What was read of an answer so far.

    Attributes:
        audio: The pieces that came, appended.
        sentences: What came of the words' times.
        last: The object that ended the answer, good or bad; None while that is to come.
        flaw: Why the audio can't be whole, whatever comes; None: nothing is known against it.
    """

    def __init__(self) -> None:
        self.audio = bytearray()
        self.sentences: list[Any] = []
        self.last: dict[str, Any] | None = None
        self.flaw: str | None = None
        self._objects = Objects(object_bytes_max=UPSTREAM_OBJECT_BYTES_MAX, bytes_max=UPSTREAM_ANSWER_BYTES_MAX)

    def take(self, piece: bytes) -> bool:
        """Read a piece; tell whether it brought the last object. What comes behind that is not read.

        Raises:
            UpstreamUnavailableError: This is no answer of v3's, or too large a one.
        """
        try:
            for said in self._objects.feed(piece):
                if self._is_last(said):
                    self.last = said
                    return True
        except ValueError as exc:
            raise UpstreamUnavailableError(f"The upstream's answer can't be read: {exc}") from exc
        return False

    def _is_last(self, said: dict[str, Any]) -> bool:
        code, _ = codes.code_and_message_in(said)
        is_last = code not in {0, None}
        if is_last and code not in codes.V3_SUCCESSES:
            return True
        content = said.get("data")
        if isinstance(content, str):
            self._append(content)
        if isinstance(said.get("sentence"), dict):
            self.sentences.append(said["sentence"])
        return is_last

    def _append(self, content: str) -> None:
        """Append a piece of audio; a spoiled one spoils all, but the answer goes on to its end."""
        try:
            self.audio += base64.b64decode(content, validate=True)
        except ValueError:
            self.flaw = "a piece is not base64"


def _speech_of(answer: Answer, reading: Reading, task: TaskItem, route: Route) -> Speech:
    if 200 <= answer.http_status < 300 and reading.last is None:
        raise UpstreamUnavailableError("The upstream's answer broke off")
    last = codes.parsed(answer.body) if reading.last is None else reading.last
    code, message = codes.code_and_message_in(last)
    error = codes.error_of(answer.http_status, code, message, resource=route.resource, log_id=answer.log_id)
    if error is not None:
        raise error
    if not reading.audio and reading.flaw is None:
        raise _silence(answer)
    try:
        audio, whole_ms = _whole(reading, task)
    except ValueError as exc:
        raise UpstreamUnavailableError(f"The upstream's audio was not whole: {exc}") from exc
    return Speech(
        audio,
        whole_ms,
        codes.checked_log_id(answer.log_id),
        billed_characters=_billed(last),
        words=words_in_sentences(reading.sentences) if task.subtitles else None,
    )


def _silence(answer: Answer) -> VolcengineError:
    """Return what a success without audio is: a text in none of the voice's languages, bought again if asked again."""
    log_id = codes.checked_log_id(answer.log_id)
    return TextRefusedError(
        "The upstream says that it spoke the text, but gave no audio; check that the voice speaks the text's language",
        details={"log_id": log_id} if log_id else None,
    )


def _whole(reading: Reading, task: TaskItem) -> tuple[bytes, int]:
    """Return the file that the task wants, and how long it plays.

    Raises:
        ValueError: It is not whole.
    """
    if reading.flaw is not None:
        raise ValueError(reading.flaw)
    audio = bytes(reading.audio)
    if task.encoding != "wav":
        return audio, duration_ms(audio, task.encoding, task.sample_rate)
    whole_ms = duration_ms(audio, "pcm", task.sample_rate)
    return wav_header(len(audio), task.sample_rate or SAMPLE_RATE_DEFAULT) + audio, whole_ms


def _billed(last: dict[str, Any]) -> int | None:
    usage = last.get("usage")
    count = usage.get("text_words") if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count <= _CHARACTERS_MAX else None
