"""The upstream's v1 API: one POST, one JSON answer with the whole file in it."""

from __future__ import annotations

import base64
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from volcengine_client.errors import (
    CredentialsError,
    OptionRefusedError,
    TextRefusedError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
    VoiceNotGrantedError,
)
from volcengine_client.limits import CREDENTIAL_CHARACTERS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech import codes
from volcengine_client.speech.audio import duration_ms
from volcengine_client.speech.call import Call
from volcengine_client.speech.text import cleaned
from volcengine_client.speech.voices import Family, catalogue, family_of
from volcengine_client.speech.wire import Answer, Wire

__all__ = ["V1", "Login", "Speaker", "Speech", "Wire", "refusal_of"]

PATH = "api/v1/tts"

# Encoders only add: mp3 fills up frames and leads in, up to 0.1 s. The upstream rounds what it states and may trim
# silence. So audio is whole when it is no shorter than this part of what was stated, less a constant for short ones.
WHOLE_PART = 0.9
WHOLE_SLACK_MS = 150

_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Speech:
    """A task's audio.

    Attributes:
        audio: The whole file.
        duration_ms: How long it plays.
        log_id: The upstream's name for the call, for its support.
        kept_as: The name under which the audio is kept, when `audio` is empty for that.
    """

    audio: bytes = field(repr=False)
    duration_ms: int
    log_id: str | None
    kept_as: str | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """An account of the upstream.

    Raises:
        CredentialsError: A part is empty, too long or could not stand in a header.
    """

    app_id: str
    access_key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what could not be a login, so that nothing of it ends up in an error further on."""
        for name, value in (("app id", self.app_id), ("access key", self.access_key)):
            if len(value) > CREDENTIAL_CHARACTERS_MAX or not _VISIBLE.fullmatch(value):
                raise CredentialsError(
                    f"The {name} should be 1 to {CREDENTIAL_CHARACTERS_MAX} visible ASCII characters without spaces"
                )


class Speaker(Protocol):
    """An account at the upstream, whatever its API."""

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Speak one text: one attempt."""
        ...


class V1:
    """Speak through one account over v1."""

    def __init__(self, wire: Wire, login: Login) -> None:
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
        family = family_of(task.voice_type)
        request_id = str(uuid.uuid4())
        body = json.dumps(self._body(task, family, request_id), ensure_ascii=False).encode()
        headers = {"Authorization": f"Bearer;{self._login.access_key}"}
        answer = await self._wire.post(PATH, headers=headers, body=body, call=call, timeout_ms=timeout_ms)
        return _speech_of(answer, task, family, request_id)

    def _body(self, task: TaskItem, family: Family, request_id: str) -> dict[str, Any]:
        return {
            # The token that counts is the header's; this one is only required to be there.
            "app": {"appid": self._login.app_id, "token": "token", "cluster": _cluster_of(family)},
            "user": {"uid": "volcengine-concurrent-tts"},
            "audio": _audio_fields(task, family),
            "request": {"reqid": request_id, "text": _readable(task), "text_type": "plain", "operation": "query"},
        }


def refusal_of(task: TaskItem) -> UpstreamRejectedError | None:
    """Return why a task would be refused before anything is sent; None when it would be sent."""
    try:
        family = family_of(task.voice_type)
        _cluster_of(family)
        _audio_fields(task, family)
        _readable(task)
    except UpstreamRejectedError as refusal:
        return refusal
    return None


def _readable(task: TaskItem) -> str:
    text = cleaned(task.text)
    if not text:
        raise TextRefusedError("There is nothing in the text that a voice could read")
    return text


def _cluster_of(family: Family) -> str:
    if family.cluster is None:
        needed = f"; it needs resource {family.resource} and the v3 API" if family.resource else ""
        raise VoiceNotGrantedError(f"The v1 API can't speak {family.name} voices{needed}")
    return family.cluster


def _audio_fields(task: TaskItem, family: Family) -> dict[str, Any]:
    """Say how a task wants to sound, in the words of its voice's family; what the family can't do is an error."""
    fields: dict[str, Any] = {"voice_type": task.voice_type, "encoding": task.encoding}
    if task.sample_rate is not None:
        fields["rate"] = task.sample_rate
    if task.speed is not None:
        _check_range("speed", task.speed, family.speed_min, family.speed_max, family)
        fields["speed_ratio"] = task.speed
    if task.volume is not None:
        _check_range("volume", task.volume, family.volume_min, family.volume_max, family)
        fields[family.volume_field] = task.volume
    if task.pitch:
        if not family.has_pitch:
            raise OptionRefusedError(f"The v1 API can't change the pitch of {family.name} voices; leave pitch out")
        fields["pitch_ratio"] = round(2 ** (task.pitch / 12), 4)
    if task.emotion is not None:
        fields["emotion"] = task.emotion
        if family.has_emotion_switch:
            fields["enable_emotion"] = True
    return fields


def _check_range(name: str, value: float, lowest: float, highest: float, family: Family) -> None:
    if not lowest <= value <= highest:
        raise OptionRefusedError(f"The {name} of {family.name} voices should be from {lowest:g} to {highest:g}")


def _speech_of(answer: Answer, task: TaskItem, family: Family, request_id: str) -> Speech:
    body = _parsed(answer.body)
    code, message = body.get("code"), body.get("message")
    error = codes.error_of(
        answer.http_status,
        code if type(code) is int else None,
        message if isinstance(message, str) else "",
        resource=family.resource,
        log_id=answer.log_id,
    )
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
    return Speech(audio, whole_ms, codes.checked_log_id(answer.log_id))


def _check_whole(whole_ms: int, stated_ms: int | None) -> None:
    if stated_ms is not None and whole_ms < stated_ms * WHOLE_PART - WHOLE_SLACK_MS:
        raise ValueError(f"it plays {whole_ms} ms of {stated_ms} ms")


def _parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*; {} when there is none, as in a proxy's page."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _decoded(content: Any) -> bytes:
    if not isinstance(content, str) or not content:
        raise ValueError("there is no audio")
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None


def _stated_ms(addition: Any) -> int | None:
    """Return the duration that the upstream states, if it does; it does so in a string."""
    stated = addition.get("duration") if isinstance(addition, dict) else None
    is_number = isinstance(stated, (str, int)) and re.fullmatch(r"[0-9]{1,9}", str(stated))
    return int(stated) if is_number and stated is not None else None
