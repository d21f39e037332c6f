"""Signatures of callbacks: how the gateway signs a job's end, and how a receiver tells that it was the gateway. Pure.

A callback is a POST with a JSON body and three headers. `Webhook-Signature` is `v1=` and the HMAC-SHA256, in
hexadecimal, of the time in `Webhook-Timestamp` (Unix seconds), a dot, and the body's bytes. `Webhook-Id` stays the
same when a callback is sent again, so that a receiver can drop what it has seen.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from volcengine_client.limits import WEBHOOK_TOLERANCE_S

ID, TIMESTAMP, SIGNATURE = "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"
VERSION = "v1="
SIGNATURES_MAX = 8  # while a key is changed there may be two
UNIX_SECONDS = re.compile(r"[0-9]{1,12}")


def signed_headers(body: bytes, *, webhook_id: str, key: bytes, now_s: int) -> dict[str, str]:
    """Return the headers that a callback has beside its content type.

    Args:
        body: Its bytes, as they are sent.
        webhook_id: The same for every try of one callback.
        key: Of the signature.
        now_s: Unix seconds.
    """
    timestamp = str(now_s)
    return {ID: webhook_id, TIMESTAMP: timestamp, SIGNATURE: VERSION + _signature(timestamp, body, key)}


def verify(
    headers: Mapping[str, str], body: bytes, key: bytes | str, now_s: int, tolerance_s: int = WEBHOOK_TOLERANCE_S
) -> bool:
    """Tell whether a callback is from whoever has the key, unchanged, and not much older than its sending.

    Takes the same time whatever part of a signature is wrong. Nothing that is received raises an error.

    Args:
        headers: Of the request; names in any case.
        body: Its bytes, exactly as they came.
        key: Of the signature.
        now_s: The receiver's time, Unix seconds.
        tolerance_s: How far the callback's time may be from it, either way.

    Raises:
        ValueError: The key is empty: anyone could sign with it.
    """
    received = {name.lower(): value for name, value in headers.items()}
    timestamp = received.get(TIMESTAMP.lower(), "")
    if not UNIX_SECONDS.fullmatch(timestamp) or abs(now_s - int(timestamp)) > tolerance_s:
        return False
    wanted = (VERSION + _signature(timestamp, body, key.encode() if isinstance(key, str) else key)).encode()
    given = received.get(SIGNATURE.lower(), "").split(",", SIGNATURES_MAX)[:SIGNATURES_MAX]
    return any(hmac.compare_digest(wanted, one.strip().encode("utf-8", "replace")) for one in given)


def _signature(timestamp: str, body: bytes, key: bytes) -> str:
    if not key:
        raise ValueError("The key of callbacks is empty; anyone could sign with it")
    return hmac.new(key, timestamp.encode() + b"." + body, "sha256").hexdigest()
