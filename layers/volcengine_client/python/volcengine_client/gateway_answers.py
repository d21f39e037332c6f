"""Pure: what a gateway's answers mean, and when to ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from volcengine_client.errors import (
    AdminKeyError,
    BatchTooLargeError,
    CallerError,
    CapacityError,
    GatewayUnavailableError,
    UpstreamError,
    VolcengineError,
    class_of,
)
from volcengine_client.limits import (
    ATTEMPTS_MAX,
    CLIENT_RETRY_AFTER_MAX_MS,
    CLIENT_RETRY_BASE_MS,
    CLIENT_RETRY_MAX_MS,
)

# What API Gateway itself says, `{"message": …}`, and others in front of a gateway.
OTHERS: Mapping[int, type[VolcengineError]] = {
    401: AdminKeyError,
    403: AdminKeyError,
    413: BatchTooLargeError,
    429: CapacityError,
}
OTHERS_SAY = {
    401: "something before the gateway refuses the request (HTTP 401): look at the address and the admin key",
    403: "something before the gateway refuses the request (HTTP 403): look at the address and the admin key",
    413: "the request is too large for the gateway (HTTP 413): send fewer tasks at a time",
    429: "the gateway gets too many requests (HTTP 429): ask again later",
}


def error_of(status: int, body: bytes, *, retry_after: str | None = None) -> VolcengineError:
    """Return the error that an answer tells, in the library's own classes.

    Args:
        status: Of HTTP, 300 or more.
        body: The gateway's JSON, API Gateway's, or anything else.
        retry_after: The header, if there was one.
    """
    retry_after_ms = _retry_after_ms(retry_after)
    told = _told(body)
    if told is None:
        return _error_of_others(status, retry_after_ms)
    details = told.get("details")
    details = dict(details) if isinstance(details, dict) else {}
    if isinstance(told.get("request_id"), str):
        details["request_id"] = told["request_id"]
    code = str(told["code"])
    known = class_of(code)
    if known is VolcengineError and code != VolcengineError.code:
        known = CallerError if status < 500 else VolcengineError
        details["code"] = code
    return known(
        str(told.get("message") or code),
        retryable=told.get("retryable") is True,
        retry_after_ms=retry_after_ms,
        details=details,
    )


def unreadable(what: str) -> GatewayUnavailableError:
    """Return the error for an answer that is not a gateway's."""
    return GatewayUnavailableError(f"the answer is not a gateway's: {what}; look at the address", retryable=False)


def wait_before_repeat_ms(error: VolcengineError, *, attempt: int, chance: float) -> int | None:
    """Return how long to wait before a request is sent again; None when it should not be.

    Full jitter, as `speech.retry` has it, but never sooner than the gateway said.

    Args:
        error: What the last attempt came to.
        attempt: Attempts made so far, from 1.
        chance: A number of [0, 1) drawn for this wait.
    """
    assert attempt >= 1
    assert 0 <= chance < 1
    least_ms = error.retry_after_ms or 0
    has_tried = isinstance(error, UpstreamError)  # the gateway, as often as that may help
    if not error.retryable or has_tried or attempt >= ATTEMPTS_MAX or least_ms > CLIENT_RETRY_AFTER_MAX_MS:
        return None
    bound_ms = min(CLIENT_RETRY_MAX_MS, CLIENT_RETRY_BASE_MS << (attempt - 1))
    return least_ms + int(chance * bound_ms)


def _error_of_others(status: int, retry_after_ms: int | None) -> VolcengineError:
    if status >= 500:
        message = f"the gateway is out of order or busy (HTTP {status}): ask again later"
        return GatewayUnavailableError(message, retry_after_ms=retry_after_ms)
    message = OTHERS_SAY.get(status, f"there is no gateway at this address, or it knows no such route (HTTP {status})")
    return OTHERS.get(status, CallerError)(message, retry_after_ms=retry_after_ms)


def _told(body: bytes) -> dict[str, Any] | None:
    """Return the error in a body; None when it has none of a gateway's."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    told = said.get("error") if isinstance(said, dict) else None
    return told if isinstance(told, dict) and isinstance(told.get("code"), str) else None


def _retry_after_ms(header: str | None) -> int | None:
    """Return the header's seconds; a date, which no gateway sends, is not read."""
    text = (header or "").strip()
    return int(text) * 1_000 if text.isdecimal() and len(text) <= 6 else None
