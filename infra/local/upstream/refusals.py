"""Refusals: what the upstream answers instead of audio, by status, code and message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

RefusalStyle = Literal["429+3003", "429+3001", "200+3003"]
V3RefusalStyle = Literal["429+45000292", "200+45000000"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without audio.

    Attributes:
        reason: What the simulator's own record calls it.
        status: The HTTP status; 0: no answer, the connection is cut.
        code: The code in the body.
        message: The message in the body.
    """

    reason: str
    status: int
    code: int
    message: str


_NO_GRANT = "authenticate request: load grant: requested grant not found"
_CONCURRENCY = "quota exceeded for types: concurrency"
_NO_METHOD = "authenticate request: authentication signature from request: invalid authorization method requested:"

NO_LOGIN = Refusal("no_login", 401, 3001, "missing Authorization header")
STRANGE_LOGIN = Refusal("strange_login", 401, 3001, _NO_METHOD)
LOGIN_WITHOUT_SEMICOLON = Refusal("login_without_semicolon", 401, 3001, "invalid auth token")
WRONG_LOGIN = Refusal("wrong_login", 401, 3001, _NO_GRANT)
NO_ENGINE = Refusal("no_engine", 500, 3031, "Fail to feed text, reason Init Engine Instance failed")
VOICE_DENIED = Refusal("voice_denied", 403, 3001, "extract request resource id: get resource id: access denied")
CHARACTERS_USED_UP = Refusal("characters_used_up", 429, 3001, "quota exceeded for types: text_words_lifetime")
TOO_MANY_A_SECOND = Refusal("qps", 429, 3001, "quota exceeded for types: qps")
REQID_USED = Refusal("reqid_used", 400, 3006, "service interrupted: reqid was used before")
TEXT_TOO_LONG = Refusal("text_too_long", 400, 3010, "exceed max len limit!")
TEXT_UNREADABLE = Refusal("text_unreadable", 400, 3011, "illegal input text!")
VOICE_GONE = Refusal("voice_gone", 400, 3050, "voice type does not exist")
WRONG_KEY = Refusal("wrong_key", 401, 3001, _NO_GRANT)
MISMATCHED = Refusal("mismatched", 500, 3031, "resource ID is mismatched with speaker related resource")
CUT = Refusal("cut_early", 0, 0, "")

# What a fault of that name answers. The messages of 3005, 3030, 3032 and 3040 are documented by their meaning only.
FAULTS = {
    "3001": Refusal("3001", 400, 3001, "invalid request"),
    "3005": Refusal("3005", 500, 3005, "backend is busy"),
    "3006": REQID_USED,
    "3010": TEXT_TOO_LONG,
    "3011": TEXT_UNREADABLE,
    "3030": Refusal("3030", 500, 3030, "processing timeout"),
    "3031": Refusal("3031", 500, 3031, "Fail to feed text, reason backend processing error"),
    "3032": Refusal("3032", 500, 3032, "timeout waiting for audio"),
    "3040": Refusal("3040", 500, 3040, "backend link error"),
    "3050": VOICE_GONE,
}


def too_many_at_once(style: RefusalStyle) -> Refusal:
    """Refuse a call over the limit; public sources disagree on status and code, not on the message."""
    status, code = style.split("+")
    return Refusal("concurrency", int(status), int(code), _CONCURRENCY)


# What v3 says of the same.
_V3 = {
    "no_login": (401, 45_000_010, "app key not found in header or query"),
    "wrong_login": (401, 45_000_010, "load grant: requested grant not found in SaaS storage"),
    "wrong_key": (401, 45_000_010, "Invalid X-Api-Key"),
    "noauth": (401, 45_000_010, "Invalid X-Api-Key"),
    "voice_denied": (403, 45_000_000, "speaker permission denied: get resource id: access denied"),
    "mismatched": (500, 55_000_000, "resource ID is mismatched with speaker related resource"),
    "characters_used_up": (429, 45_000_292, "quota exceeded for types: text_words_lifetime"),
    "qps": (429, 45_000_292, "quota exceeded for types: qps"),
    "text_too_long": (400, 40_402_003, "TTSExceededTextLimit:exceed max limit"),
    "text_unreadable": (400, 45_002_001, "No readable text!"),
    "voice_gone": (400, 45_002_000, "TTS invalid speaker"),
    "3001": (400, 45_000_001, "[Invalid argument] InvalidModel"),
    "3005": (500, 55_000_031, "service busy"),
    "3006": (500, 55_000_001, "session error"),
    "3010": (400, 40_402_003, "TTSExceededTextLimit:exceed max limit"),
    "3011": (400, 45_002_001, "No readable text!"),
    "3030": (500, 55_000_000, "synthesis processing timeout"),
    "3031": (500, 55_000_000, "server error"),
    "3032": (500, 55_000_000, "Request timeout: connect downstream service timeout"),
    "3040": (500, 55_000_030, "service unavailable"),
    "3050": (400, 45_002_000, "TTS invalid speaker"),
}


def in_v3(refusal: Refusal, style: V3RefusalStyle) -> Refusal:
    """Return what v3 says where v1 would say *refusal*; *style* is how it says that there are too many calls."""
    if refusal.message == _CONCURRENCY:
        status, code = style.split("+")
        return replace(refusal, status=int(status), code=int(code))
    if refusal.reason in _V3:
        status_, code_, message = _V3[refusal.reason]
        return replace(refusal, status=status_, code=code_, message=message)
    if refusal.reason == "not_json":
        return replace(refusal, status=400, code=45_000_000, message=f"payload unmarshal: {refusal.message}")
    if refusal.reason == "resource_not_granted":
        return replace(refusal, code=45_000_030)
    assert refusal.reason == "bad_parameter", refusal.reason
    return replace(refusal, code=45_000_001, message=f"[Invalid argument] {refusal.message}")


def not_granted(resource: str) -> Refusal:
    """Refuse a product that the account has not opened."""
    return Refusal("resource_not_granted", 403, 3001, f"[resource_id={resource}] requested resource not granted")


def not_json(message: str) -> Refusal:
    """Refuse a body that can't be read."""
    return Refusal("not_json", 500, 3031, message)


def bad_parameter(message: str) -> Refusal:
    """Refuse a field of a wrong shape or range."""
    return Refusal("bad_parameter", 400, 3001, f"invalid request: {message}")
