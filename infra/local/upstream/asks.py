"""Asks: the body of a request, read and checked field by field. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.local.upstream.audio import ENCODINGS, Wishes
from infra.local.upstream.refusals import (
    LOGIN_WITHOUT_SEMICOLON,
    NO_LOGIN,
    STRANGE_LOGIN,
    TEXT_TOO_LONG,
    TEXT_UNREADABLE,
    Refusal,
    bad_parameter,
    not_json,
)
from infra.local.upstream.voices import Family, family_of, language_of

TEXT_BYTES_MAX = 1_024
SILENCE_MAX_MS = 30_000
RATES = (8_000, 16_000, 24_000)
BITRATE_BIG, BITRATE_SMALL, BITRATE_SLOWEST_RATE = 160, 64, 64  # kilobits a second; the last is mp3's bound at 8 kHz


class RefusedError(Exception):
    """A check failed, or a fault was injected."""

    def __init__(self, refusal: Refusal, *, is_injected: bool = False) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.is_injected = is_injected


@dataclass(frozen=True, slots=True)
class Ask:
    """What a well-formed request asks for.

    Attributes:
        api: The API that was asked.
        reqid: The request's id; "" when it has none, as v3 allows.
        operation: `query`, or `submit`, which is no use over HTTP.
        wishes: How the text is to be spoken.
        family: The product that the voice belongs to; None when there is no such voice.
        resource: The name under which its calls are counted.
        cluster: The cluster that v1 was told.
        named_resource: The product as v3 was told it.
        wants_words: Whether it asks when each word is heard.
        wants_usage: Whether it asks what it cost.
    """

    api: Literal["v1", "v3"]
    reqid: str
    operation: str
    wishes: Wishes
    family: Family | None
    resource: str
    cluster: str = ""
    named_resource: str = ""
    wants_words: bool = False
    wants_usage: bool = False


def body_of(raw: bytes) -> dict[str, Any]:
    """Read JSON; what can't be read is told in the words of the upstream's own parser.

    Raises:
        RefusedError: It is no JSON object.
    """
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as exc:
        character = exc.doc[exc.pos : exc.pos + 1]
        said = f"invalid character {character!r} looking for beginning of value" if character else "unexpected EOF"
        raise RefusedError(not_json(said)) from exc
    except ValueError as exc:
        raise RefusedError(not_json("invalid UTF-8")) from exc
    if not isinstance(body, dict):
        raise RefusedError(not_json("json: cannot unmarshal the body into an object"))
    return body


def token_of(authorization: str | None) -> str:
    """Return the token of an `Authorization` header, which separates it by a semicolon.

    Raises:
        RefusedError: The header is missing or of another form.
    """
    if authorization is None:
        raise RefusedError(NO_LOGIN)
    method, semicolon, token = authorization.partition(";")
    if semicolon and method == "Bearer":
        return token.strip()
    raise RefusedError(LOGIN_WITHOUT_SEMICOLON if authorization.startswith("Bearer ") else STRANGE_LOGIN)


def section(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of the body; an empty one when it is missing or no object."""
    part = body.get(name)
    return part if isinstance(part, dict) else {}


def ask_of(body: Mapping[str, Any]) -> Ask:
    """Take the fields apart; unknown ones are ignored.

    Raises:
        RefusedError: A field is missing, or of a wrong shape or range.
    """
    app, user, audio, request = (section(body, name) for name in ("app", "user", "audio", "request"))
    string_in(app, "token")
    string_in(user, "uid")
    operation = string_in(request, "operation")
    if operation not in {"query", "submit"}:
        raise RefusedError(bad_parameter("operation should be query"))
    text = request.get("text", "")
    if not isinstance(text, str):
        raise RefusedError(bad_parameter("text should be a string"))
    wishes = _wishes(audio, request, text)
    family = family_of(wishes.voice_type)
    return Ask(
        api="v1",
        reqid=string_in(request, "reqid"),
        operation=operation,
        wishes=wishes,
        family=family,
        resource=family.value if family else "",
        cluster=string_in(app, "cluster"),
        wants_words=str(request.get("with_timestamp", "")) == "1",
    )


def wishes_of(body: Mapping[str, Any]) -> Wishes:
    """Return how a request's text is to be spoken: `audio_of` it is the audio that answers the request.

    Raises:
        RefusedError: The request is not well-formed.
    """
    return ask_of(body).wishes


def check_text(wishes: Wishes) -> None:
    """Hold the bounds of a text.

    Raises:
        RefusedError: The text is too long, or has nothing that the voice can read.
    """
    if len(wishes.text.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise RefusedError(TEXT_TOO_LONG)
    readable = [character for character in wishes.words if unicodedata.category(character)[0] in "LN"]
    if language_of(wishes.voice_type) == "en":
        readable = [character for character in readable if unicodedata.east_asian_width(character) not in "WF"]
    if not readable:
        raise RefusedError(TEXT_UNREADABLE)


def _wishes(audio: Mapping[str, Any], request: Mapping[str, Any], text: str) -> Wishes:
    voice_type = string_in(audio, "voice_type")
    is_big = family_of(voice_type) is Family.BIG
    encoding = audio.get("encoding", "pcm")
    if encoding not in ENCODINGS:
        raise RefusedError(bad_parameter(f"unsupported encoding, should be one of {', '.join(ENCODINGS)}"))
    rate = audio.get("rate", 24_000)
    if rate not in RATES or isinstance(rate, float):
        raise RefusedError(bad_parameter("rate should be 8000, 16000 or 24000"))
    text_type = request.get("text_type", "plain")
    if text_type not in {"plain", "ssml"}:
        raise RefusedError(bad_parameter("text_type should be plain or ssml"))
    has_silence = not is_big or request.get("enable_trailing_silence_audio") is True
    bitrate = round(number_in(audio, "bitrate", 8, 320, BITRATE_BIG)) if is_big else BITRATE_SMALL
    volume = number_in(audio, "volume_ratio", 0.1, 3)
    pitch = number_in(audio, "pitch_ratio", 0.1, 3)
    return Wishes(
        text=text,
        voice_type=voice_type,
        encoding=encoding,
        rate=rate,
        speed=number_in(audio, "speed_ratio", 0.1, 2) if is_big else number_in(audio, "speed_ratio", 0.2, 3),
        volume=number_in(audio, "loudness_ratio", 0.5, 2) if is_big else volume,
        pitch=1 if is_big else pitch,
        bitrate=min(bitrate, BITRATE_SLOWEST_RATE if rate == min(RATES) else BITRATE_BIG),
        silence_ms=round(number_in(request, "silence_duration", 0, SILENCE_MAX_MS, 0)) if has_silence else 0,
        is_ssml=text_type == "ssml",
    )


def string_in(part: Mapping[str, Any], name: str) -> str:
    """Return a field that has to be there.

    Raises:
        RefusedError: It is not, or is no text.
    """
    value = part.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(bad_parameter(f"{name} should be a string with something in it"))
    return value


def number_in(part: Mapping[str, Any], name: str, least: float, most: float, default: float = 1.0) -> float:
    """Return a field that may be left out.

    Raises:
        RefusedError: It is no number of that range.
    """
    value = part.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise RefusedError(bad_parameter(f"{name} should be a number from {least} to {most}"))
    return float(value)
