"""A request as it comes in: what it says, and how long there is to answer it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from volcengine_client.errors import BatchTooLargeError, InvalidRequestError
from volcengine_client.limits import ANSWER_RESERVE_MS, GATEWAY_TIMEOUT_MS, IDEMPOTENCY_KEY_CHARACTERS_MAX
from volcengine_client.models import BatchRequest, JobRequest, UploadedJobRequest, UploadRequest
from volcengine_gateway.problems import NotJSONError, invalid

ADMIN_KEY = "admin-api-key"
CONTENT_TYPE = "content-type"
IDEMPOTENCY_KEY = "idempotency-key"
PREFER, RESPOND_ASYNC = "prefer", "respond-async"
VISIBLE = re.compile(rf"[ -~]{{1,{IDEMPOTENCY_KEY_CHARACTERS_MAX}}}")
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNKNOWN = "?"
UPLOAD_REQUEST_BYTES_MAX = 16 * 1024  # bytes a body that holds no tasks


def request_id_of(event: Mapping[str, Any]) -> str:
    """Return the id by which API Gateway, the log and the answer name the request; whatever the event is."""
    return str(_within(event, "requestContext", "requestId") or UNKNOWN)


def method_of(event: Mapping[str, Any]) -> str:
    """Return the method of HTTP; `?` for one that nobody knows, whatever the event is."""
    method = str(_within(event, "requestContext", "http", "method")).upper()
    return method if method in KNOWN_METHODS else UNKNOWN


def _within(event: Any, *keys: str) -> Any:
    for key in keys:
        event = event.get(key) if isinstance(event, Mapping) else None
    return event


def admin_key_in(headers: Mapping[str, str]) -> str | None:
    """Return the admin key that was shown; None when none was."""
    return headers.get(ADMIN_KEY, "").strip() or None


def idempotency_key_in(headers: Mapping[str, str]) -> str | None:
    """Return the key by which the caller knows a request again; None when it gave none.

    Raises:
        InvalidRequestError: It is no such key.
    """
    key = headers.get(IDEMPOTENCY_KEY)
    if key is not None and not VISIBLE.fullmatch(key):
        message = f"Idempotency-Key should be 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters"
        raise InvalidRequestError.of_field("Idempotency-Key", message)
    return key


def is_dry_run(query: Mapping[str, str]) -> bool:
    """Tell whether the caller only wants to know what its batch would cost.

    Raises:
        InvalidRequestError: It says neither true nor false.
    """
    said = query.get("dry_run", "false").lower()
    if said not in {"true", "false"}:
        message = "dry_run should be true or false"
        raise InvalidRequestError.of_field("dry_run", message)
    return said == "true"


def wants_job(headers: Mapping[str, str]) -> bool:
    """Tell whether the caller asks for a job at once (RFC 7240)."""
    wishes = headers.get(PREFER, "").lower().replace(";", ",").split(",")
    return RESPOND_ASYNC in {wish.strip() for wish in wishes}


def batch_request_of(body: bytes) -> BatchRequest:
    """Return the batch in a body.

    Raises:
        InvalidRequestError: It is not JSON, or a field has a wrong shape, range or length.
    """
    try:
        return BatchRequest.model_validate_json(body)
    except ValidationError as exc:
        # Without its cause, which quotes the body.
        raise invalid(exc) from None


def job_request_of(body: bytes) -> JobRequest | UploadedJobRequest | UploadRequest:
    """Return the job in a body, the one whose tasks were uploaded, or the wish to upload some.

    Raises:
        InvalidRequestError: It is not JSON, or a field has a wrong shape, range or length.
    """
    names = _names_in(body) if len(body) <= UPLOAD_REQUEST_BYTES_MAX else frozenset()
    try:
        if "upload" in names:
            return UploadRequest.model_validate_json(body)
        if "upload_id" in names:
            return UploadedJobRequest.model_validate_json(body)
        return JobRequest.model_validate_json(body)
    except ValidationError as exc:
        raise invalid(exc) from None


def _names_in(body: bytes) -> frozenset[str]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(said) if isinstance(said, dict) else frozenset()


def require_json(headers: Mapping[str, str]) -> None:
    """Take JSON, and what doesn't say what it is.

    Raises:
        NotJSONError: It says that it is something else.
    """
    media_type = headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise NotJSONError("The body should be JSON: send Content-Type: application/json")


async def body_in(event: Mapping[str, Any], *, body_bytes_max: int) -> bytes:
    """Return the bytes of the body that an event carries.

    Raises:
        BatchTooLargeError: There are more than *body_bytes_max*.
        InvalidRequestError: The event says base64 and it is not.
    """
    text = event.get("body") or ""
    if event.get("isBase64Encoded"):
        if len(text) // 4 * 3 - 2 > body_bytes_max:
            raise too_large(body_bytes_max)
        try:
            body = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequestError("The body should be base64, as the event says") from None
    else:
        body = text.encode(errors="surrogatepass")  # what is no UTF-8 is left to the parser to refuse
    if len(body) > body_bytes_max:
        raise too_large(body_bytes_max)
    return body


def too_large(body_bytes_max: int) -> BatchTooLargeError:
    """Say how large a body may be."""
    return BatchTooLargeError(
        f"The body should have at most {body_bytes_max:,} bytes; send fewer tasks at a time",
        details={"bound": body_bytes_max},
    )


def time_left_ms(*, asked_at_ms: int | None, wall_ms: int, remaining_ms: int, request_deadline_ms: int) -> int:
    """Return how long there is to answer, milliseconds; none left when negative.

    The host's wall clock is only believed within what API Gateway would wait: outside of that it is wrong, since
    nobody waits for the answer any more.

    Args:
        asked_at_ms: When the request arrived by API Gateway's clock, Unix time; None when it doesn't say.
        wall_ms: The host's Unix time now.
        remaining_ms: What Lambda, or the server, gives.
        request_deadline_ms: From arrival to answer.
    """
    elapsed_ms = 0 if asked_at_ms is None else wall_ms - asked_at_ms
    if not 0 <= elapsed_ms <= GATEWAY_TIMEOUT_MS:
        elapsed_ms = 0
    return min(request_deadline_ms - elapsed_ms, remaining_ms - ANSWER_RESERVE_MS)
