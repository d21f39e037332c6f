"""Answers of v3: the objects that it sends, the honest and the broken ones. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from infra.local.upstream.answers import BAD_GATEWAY, Answer
from infra.local.upstream.asks import Ask
from infra.local.upstream.audio import Audio
from infra.local.upstream.gate import Admission
from infra.local.upstream.refusals import FAULTS, Refusal, in_v3
from infra.local.upstream.rules import Rules
from infra.local.upstream.voices import Family
from infra.local.upstream.words import Sentence, sentences_of

PIECES = 6  # of the audio of an answer
_SPOILED_DATA = "%%% no base64 %%%"


def v3_refusal(refusal: Refusal, reqid: str, rules: Rules) -> Answer:
    """Return the body of a refusal, in one of the two shapes that v3 has for it."""
    said = in_v3(refusal, rules.v3_refusal_style)
    told = {"code": said.code, "message": said.message}
    if said.status == 200:
        return Answer(200, [{**told, "data": None}])
    return Answer(said.status, {"header": {"reqid": reqid, **told}} if rules.has_header_errors else told)


def v3_answer_of(admission: Admission, audio: Audio) -> Answer:
    """Return what a call gets when its work is done: objects, or a refusal by status."""
    ask, fault = admission.ask, admission.fault
    if fault in FAULTS:
        return v3_refusal(FAULTS[fault], ask.reqid, admission.rules)
    if fault == "html502":
        return BAD_GATEWAY
    if fault == "liar":
        return Answer(200, [{"reqid": ask.reqid, "message": "Success"}, {"audio": _base64(audio.file)}, {}])
    objects = _spoken(ask, _file(fault, audio), audio.duration_ms)
    end = _end(ask)
    if fault == "broken":
        objects[len(objects) // 2]["data"] = _SPOILED_DATA
    if fault == "error_amid":
        return Answer(200, [*objects[: len(objects) // 2], {"code": 55_000_000, "message": "server error"}])
    if fault == "no_end":
        return Answer(200, objects, is_bought=True)
    return Answer(200, [*objects, end], is_bought=True, is_good=fault not in {"empty", "broken", "truncated"})


def written(objects: Sequence[dict[str, Any]], rules: Rules) -> list[bytes]:
    """Return objects as they are written, a piece at a time."""
    ends = "\n" if rules.has_lines else ""
    lines = [(json.dumps(one, ensure_ascii=False) + ends).encode() for one in objects]
    if rules.piece_bytes is None:
        return lines
    whole = b"".join(lines)
    return [whole[at : at + rules.piece_bytes] for at in range(0, len(whole), rules.piece_bytes)]


def _file(fault: str | None, audio: Audio) -> bytes:
    if fault == "empty":
        return b""
    return audio.file[: len(audio.file) // 2 | 1] if fault == "truncated" else audio.file


def _spoken(ask: Ask, file: bytes, duration_ms: int) -> list[dict[str, Any]]:
    """Return the audio in pieces, with the sentences among them, of the second generation one piece late."""
    size = -(-len(file) // PIECES) or 1
    pieces = [_object(_base64(file[at : at + size])) for at in range(0, len(file), size)]
    if not ask.wants_words:
        return pieces
    sentences = [_sentence(one) for one in sentences_of(ask.wishes.words, duration_ms)]
    is_late = ask.family is Family.SECOND
    at = 2 if is_late else 1
    return [*pieces[:at], *sentences[:1], *pieces[at:], *sentences[1:]]


def _object(data: str | None) -> dict[str, Any]:
    return {"code": 0, "message": "", "data": data}


def _sentence(sentence: Sentence) -> dict[str, Any]:
    words = [
        {"word": one.word, "startTime": one.start, "endTime": one.end, "confidence": 0.9} for one in sentence.words
    ]
    return _object(None) | {"sentence": {"text": sentence.text, "words": words, "phonemes": []}}


def _end(ask: Ask) -> dict[str, Any]:
    usage = {"usage": {"text_words": len(ask.wishes.words)}} if ask.wants_usage else {}
    return {"code": 20_000_000, "message": "ok", "data": None, **usage}


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()
