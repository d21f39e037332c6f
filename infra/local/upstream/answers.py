"""Answers: the bodies that the upstream sends, the honest and the broken ones. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from infra.local.upstream.asks import Ask
from infra.local.upstream.audio import Audio
from infra.local.upstream.gate import Admission
from infra.local.upstream.refusals import FAULTS, Refusal
from infra.local.upstream.words import sentences_of

_HTML = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
_NOISE_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back.

    Attributes:
        status: The HTTP status.
        content: JSON, or a page of HTML when it is a string, or a v3 answer's objects when it is a list.
        is_bought: Whether the synthesis was finished, so that it is billed.
        is_good: Whether the whole audio is in it.
    """

    status: int
    content: Any
    is_bought: bool = False
    is_good: bool = False


BAD_GATEWAY = Answer(502, _HTML.format("502 Bad Gateway"))
GATEWAY_TIMEOUT = Answer(504, _HTML.format("504 Gateway Time-out"))


def refusal_answer(refusal: Refusal, reqid: str) -> Answer:
    """Return the body of a refusal; *reqid* is "" when it could not be read."""
    return Answer(refusal.status, {"reqid": reqid, "code": refusal.code, "message": refusal.message})


def answer_of(admission: Admission, audio: Audio) -> Answer:
    """Return what a call gets when its work is done."""
    ask, fault = admission.ask, admission.fault
    if fault in FAULTS:
        return refusal_answer(FAULTS[fault], ask.reqid)
    if fault == "html502":
        return BAD_GATEWAY
    if fault == "liar":
        return Answer(200, _lie(ask, admission.chance))
    if ask.operation == "submit":  # accepted over HTTP, but no use
        return Answer(200, _success(ask, "", audio), is_bought=True)
    if fault in _SPOILED:
        return Answer(200, _success(ask, _SPOILED[fault](audio, admission.chance), audio), is_bought=True)
    return Answer(200, _success(ask, _base64(audio.file), audio), is_bought=True, is_good=True)


def _success(ask: Ask, audio_base64: str, audio: Audio) -> dict[str, Any]:
    return {
        "reqid": ask.reqid,
        "code": 3000,
        "operation": ask.operation,
        "message": "Success",
        "sequence": -1,
        "data": audio_base64,
        "addition": {"duration": str(audio.duration_ms), **_frontend(ask, audio)},
    }


def _frontend(ask: Ask, audio: Audio) -> dict[str, str]:
    """Return when each word is heard: JSON in a string, when it was asked for."""
    if not ask.wants_words:
        return {}
    words = [
        {"word": one.word, "start_time": one.start, "end_time": one.end}
        for sentence in sentences_of(ask.wishes.words, audio.duration_ms)
        for one in sentence.words
    ]
    return {"frontend": json.dumps({"words": words, "phonemes": []}, ensure_ascii=False)}


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def _broken(audio: Audio, chance: Random) -> str:
    if chance.random() < 0.5:
        return "%%% no base64 %%%" + _base64(audio.file[:99])
    return _base64(chance.randbytes(_NOISE_BYTES))


_SPOILED: dict[str | None, Callable[[Audio, Random], str]] = {
    "empty": lambda _audio, _chance: "",
    "broken": _broken,
    "truncated": lambda audio, _chance: _base64(audio.file[: len(audio.file) // 2]),
}


def _lie(ask: Ask, chance: Random) -> Any:
    return chance.choice(
        [
            None,
            [],
            "Success",
            3000,
            {},
            {"reqid": ask.reqid, "code": "3000", "message": "Success", "data": ["audio"]},
            {"reqid": ask.reqid, "code": 0, "message": "ok"},
            {"reqid": ask.reqid, "code": 3000, "message": "Success", "sequence": -1},
            {"reqid": ask.reqid, "code": 3000, "message": "Success", "sequence": -1, "data": {"audio": 1}},
            {"header": {"reqid": ask.reqid, "code": 3000, "message": "Success"}},
        ]
    )
