"""Pure: what the upstream's status, code and message mean.

The upstream says most of it in the message: code 3001 covers bad parameters, a bad login, a missing grant and a used-up
quota alike, and 429 is a passing refusal or a final one. So the message is read first, then the login's status, then
the code, then the status. The upstream's own words are never quoted, since they may repeat the text (I6).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from volcengine_client.errors import (
    ConcurrencyExceededError,
    LoginRejectedError,
    OptionRefusedError,
    QuotaUsedUpError,
    TextRefusedError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VoiceNotGrantedError,
    VolcengineError,
)

SUCCESS = 3000  # v1
V3_SUCCESSES = range(20_000_000, 30_000_000)
V3_CALLERS = range(40_000_000, 50_000_000)  # what the caller has to change
V3_FAILURES = range(50_000_000, 60_000_000)  # what passes, unless the message says otherwise
INVALID_REQUEST = 3001  # says nothing by itself

_MESSAGE_CHARACTERS_MAX = 1_000  # how much of a message is read
_CODE_MAX = 10**10  # what is larger is no code
_NAMED_RESOURCE = re.compile(r"\[resource_id=([A-Za-z0-9._-]{1,64})\]")
_LOG_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Verdict:
    error: type[VolcengineError]
    sentence: str


_LIFETIME = _Verdict(QuotaUsedUpError, "The account's characters for this voice are used up; buy more in the console")
_CONCURRENCY = _Verdict(
    ConcurrencyExceededError,
    "The upstream counts more calls in progress than the account allows; somebody else may be using the account",
)
_QPS = _Verdict(UpstreamThrottledError, "The upstream refuses calls for coming too fast")
_LOGIN = _Verdict(LoginRejectedError, "The upstream does not know this account's login")
_NO_SUCH_VOICE = _Verdict(
    VoiceNotGrantedError, "The upstream has no such voice in this API; check the voice and its family"
)
_NOT_GRANTED = _Verdict(
    VoiceNotGrantedError, "There is no such voice, or the account has not ordered it"
)  # the resource is added
_MISMATCHED = _Verdict(
    VoiceNotGrantedError, "The voice does not belong to this product; check voice_type, model and resource_id"
)
_TOO_LONG = _Verdict(TextRefusedError, "The text is longer than the upstream takes at once; split it")
_UNREADABLE = _Verdict(
    TextRefusedError, "There is nothing in the text that this voice can read; check its language and its characters"
)
_MALFORMED = _Verdict(UpstreamRejectedError, "The upstream could not parse the request")
_REPEATED = _Verdict(UpstreamUnavailableError, "The upstream says that it has seen this request before")
_BUSY = _Verdict(UpstreamUnavailableError, "The upstream is busy")
_SLOW = _Verdict(UpstreamUnavailableError, "The upstream took too long over this text")
_BROKEN = _Verdict(UpstreamUnavailableError, "The upstream failed over this text")
_PARAMETER = _Verdict(OptionRefusedError, "The upstream refuses a parameter of this task; check voice and options")
_REDIRECT = _Verdict(
    UpstreamRejectedError, "The upstream redirects to another address, which is not followed; check the endpoint"
)
_TIMEOUT = _Verdict(UpstreamTimeoutError, "The upstream's gateway had no answer in time")
_UNAVAILABLE = _Verdict(UpstreamUnavailableError, "The upstream is out of order")
_REFUSED = _Verdict(UpstreamRejectedError, "The upstream refuses the request; check the endpoint")
_NOT_UNDERSTOOD = _Verdict(UpstreamUnavailableError, "The upstream gave an answer that is not the speech API's")

# In this order: a quota that lasts outweighs one that passes.
_BY_MESSAGE = (
    (re.compile(r"quota exceeded for types:[^\n]*lifetime"), _LIFETIME),
    (re.compile(r"quota exceeded for types:[^\n]*concurrency"), _CONCURRENCY),
    (re.compile(r"quota exceeded for types:[^\n]*qps"), _QPS),
    (re.compile(r"quota exceeded"), _LIFETIME),
    (re.compile(r"init engine instance failed"), _NO_SUCH_VOICE),
    # The second is what a voice of the second generation meets in a product of the first.
    (re.compile(r"resource id is mismatched|app key not found in header or query"), _MISMATCHED),
    (re.compile(r"invalid speaker|speaker not found"), _NO_SUCH_VOICE),
    (re.compile(r"requested resource not granted|get resource id: access denied"), _NOT_GRANTED),
    (re.compile(r"authenticate request|requested grant not found|invalid auth token|missing authorization"), _LOGIN),
    (re.compile(r"invalid x-api-key"), _LOGIN),
    (re.compile(r"exceed max len limit|exceed max limit|request size too large"), _TOO_LONG),
    (re.compile(r"illegal input text|no readable text|emptyrequest"), _UNREADABLE),
    (re.compile(r"invalid character .*looking for beginning of value|payload unmarshal"), _MALFORMED),
)

_BY_CODE = {
    3003: _CONCURRENCY,
    3005: _BUSY,
    3006: _REPEATED,
    3010: _TOO_LONG,
    3011: _UNREADABLE,
    3030: _SLOW,
    3031: _BROKEN,
    3032: _SLOW,
    3040: _BROKEN,
    3050: _NO_SUCH_VOICE,
    40_402_003: _TOO_LONG,
    45_002_000: _NO_SUCH_VOICE,
    45_002_001: _UNREADABLE,
    45_000_010: _LOGIN,
    45_000_030: _NOT_GRANTED,
    45_000_292: _QPS,  # some quota: which one the message says, which is read first
    55_000_030: _BUSY,
    55_000_031: _BUSY,
}


def error_of(
    http_status: int, code: int | None, message: str, *, resource: str | None = None, log_id: str | None = None
) -> VolcengineError | None:
    """Return what an answer's failure is; None when the answer says success.

    Never raises, whatever the upstream says.

    Args:
        http_status: The answer's status.
        code: The body's `code`; None when there is none, as in a proxy's page.
        message: The body's `message`; "" when there is none. It is read, not repeated.
        resource: What the voice needs to be granted, named when the upstream does not name it.
        log_id: The upstream's name for the call, for its support; dropped when it does not look like one.
    """
    if (code == SUCCESS or code in V3_SUCCESSES) and 200 <= http_status < 300:
        return None
    verdict = _verdict(http_status, code, message[:_MESSAGE_CHARACTERS_MAX].lower())
    sentence = verdict.sentence
    if verdict is _NOT_GRANTED:
        named = _NAMED_RESOURCE.search(message[:_MESSAGE_CHARACTERS_MAX])
        needed = named[1] if named else resource
        sentence += f"; it needs resource {needed}" if needed else "; order it in the console, free ones too"
    facts: dict[str, Any] = {"http_status": http_status}
    if code is not None and abs(code) < _CODE_MAX:
        facts["upstream_code"] = code
    if checked_log_id(log_id) is not None:
        facts["log_id"] = log_id
    return verdict.error(f"{sentence} ({_told(facts)})", details=facts)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*; {} when there is none, as in a proxy's page."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def code_and_message_in(said: dict[str, Any]) -> tuple[int | None, str]:
    """Return an answer's code and message, which stand in it or in its `header`; None and "" for what is missing."""
    header = said.get("header")
    part = header if "code" not in said and isinstance(header, dict) else said
    code, message = part.get("code"), part.get("message")
    return code if type(code) is int else None, message if isinstance(message, str) else ""


def checked_log_id(log_id: str | None) -> str | None:
    """Return *log_id* when it looks like one; None when it might be anything."""
    return log_id if log_id is not None and _LOG_ID.fullmatch(log_id) else None


def _verdict(http_status: int, code: int | None, message: str) -> _Verdict:
    for pattern, verdict in _BY_MESSAGE:
        if pattern.search(message):
            return verdict
    if http_status == 401:
        return _LOGIN
    if code in _BY_CODE:
        return _BY_CODE[code]
    return _by_status(http_status) if code is None else _by_status_and_code(http_status, code)


def _by_status_and_code(http_status: int, code: int) -> _Verdict:
    if http_status == 403:
        return _NOT_GRANTED
    if code == INVALID_REQUEST and http_status != 429:
        return _PARAMETER
    if code in V3_CALLERS:
        return _QPS if http_status == 429 else _PARAMETER
    if code in V3_FAILURES:
        return _BROKEN
    return _by_status(http_status)


def _by_status(http_status: int) -> _Verdict:
    if http_status == 429:
        return _QPS
    if 300 <= http_status < 400:
        return _REDIRECT
    if http_status == 504:
        return _TIMEOUT
    if http_status >= 500 or http_status in {408, 425}:
        return _UNAVAILABLE
    return _REFUSED if 400 <= http_status < 500 else _NOT_UNDERSTOOD


def _told(facts: dict[str, Any]) -> str:
    names = {"upstream_code": "upstream code", "http_status": "HTTP", "log_id": "log id"}
    return ", ".join(f"{name} {facts[key]}" for key, name in names.items() if key in facts)
