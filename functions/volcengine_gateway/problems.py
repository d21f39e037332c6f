"""Errors as HTTP: the only room that knows a status.

A batch answers with another status than 200 only when every task failed so; then nothing was bought, and the error's
details hold every result, so that nothing is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from volcengine_client.errors import (
    AdminKeyError,
    AnswerFullError,
    BatchTooLargeError,
    CallerError,
    CapacityError,
    CredentialsError,
    InvalidRequestError,
    OptionRefusedError,
    PoolError,
    SecretError,
    StoreError,
    TextRefusedError,
    UnknownJobError,
    UnknownPoolError,
    UpstreamError,
    UpstreamTimeoutError,
    VoiceNotGrantedError,
    VolcengineError,
    class_of,
)
from volcengine_client.models import BatchResponse

FIELDS_MAX = 20  # fields that one answer names
FIELD_CHARACTERS_MAX = 80
RETRY_AFTER_MS = 2_000  # when the error doesn't know better
OWN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
BOUNDS = ("ge", "le", "gt", "lt", "max_length", "min_length", "bound", "expected", "pattern")
WHOLE_BODY = "body"  # the name of what has no name
UNKNOWN_FIELD = ("unexpected_keyword_argument", "extra_forbidden")

Headers = Mapping[str, str]


class Shape(Protocol):
    """How an error is told."""

    def __call__(self, error: VolcengineError, *, request_id: str) -> Answer: ...


T = TypeVar("T")


class UnknownRouteError(CallerError):
    """No route has this path."""

    code = "unknown_route"


class MethodNotAllowedError(CallerError):
    """The route knows other methods; `details["allow"]` names them."""

    code = "method_not_allowed"


class NotJSONError(CallerError):
    """The body is said to be something else than JSON."""

    code = "unsupported_media_type"


class AddressRefusedError(CallerError):
    """The address was not given out so, or is not good any more."""

    code = "address_refused"


class BodyLateError(CallerError):
    """The body did not arrive in time."""

    code = "body_late"
    _retryable = True


class UnsupportedValueError(InvalidRequestError):
    """A field has a value that is fine elsewhere, and can't be done here."""

    code = "unsupported_value"


class AudioTooLargeError(InvalidRequestError):
    """The audio may be larger than an answer; nothing was bought."""

    code = "audio_too_large"


class UnknownModelError(InvalidRequestError):
    """No model has this name."""

    code = "model_not_found"


STATUS: Mapping[type[VolcengineError], HTTPStatus] = {
    CallerError: HTTPStatus.BAD_REQUEST,
    CredentialsError: HTTPStatus.BAD_REQUEST,
    AdminKeyError: HTTPStatus.UNAUTHORIZED,
    AddressRefusedError: HTTPStatus.FORBIDDEN,
    UnknownPoolError: HTTPStatus.NOT_FOUND,
    UnknownJobError: HTTPStatus.NOT_FOUND,
    UnknownRouteError: HTTPStatus.NOT_FOUND,
    MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyLateError: HTTPStatus.REQUEST_TIMEOUT,
    BatchTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotJSONError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    CapacityError: HTTPStatus.TOO_MANY_REQUESTS,
    UpstreamError: HTTPStatus.BAD_GATEWAY,
    UpstreamTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    PoolError: HTTPStatus.SERVICE_UNAVAILABLE,
    SecretError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    VolcengineError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# Where OpenAI's clients expect another status. A request there has one task, so an error of the task is the request's.
OPENAI_STATUS: Mapping[type[VolcengineError], HTTPStatus] = {
    **STATUS,
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    UnknownModelError: HTTPStatus.NOT_FOUND,
    VoiceNotGrantedError: HTTPStatus.BAD_REQUEST,
    TextRefusedError: HTTPStatus.BAD_REQUEST,
    OptionRefusedError: HTTPStatus.BAD_REQUEST,
}
OPENAI_CODES: Mapping[str, str] = {AdminKeyError.code: "invalid_api_key", UnknownRouteError.code: "unknown_url"}
OPENAI_PARAMS: Mapping[str, str] = {VoiceNotGrantedError.code: "voice", TextRefusedError.code: "input"}
OPENAI_KEY_WANTED = "The API key is missing or wrong; send the admin key as Authorization: Bearer"
TASKS_OWN = (
    VoiceNotGrantedError,
    TextRefusedError,
    OptionRefusedError,
    AnswerFullError,
)  # about a task, not about the upstream
ASK_AGAIN = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: Of HTTP.
        body: Text, or a file of bytes; "" for none.
        headers: Beside the content type.
        code: The error's; None when all is well.
        content_type: Of the body.
    """

    status: int
    body: str | bytes
    headers: Headers = field(default_factory=dict)
    code: str | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """What is the same for everybody, as long as the process lives.

    Attributes:
        body: Text.
        content_type: Of the body.
        tag: Another one for another body.
        headers: Beside these.
    """

    body: str
    content_type: str
    tag: str
    headers: Headers = field(default_factory=dict)


def answer_of_json(body: str, *, age_max_s: int | None = None) -> Answer:
    """Answer that all is well; with *age_max_s*, with what anybody may keep for so long."""
    headers = {} if age_max_s is None else {"Cache-Control": f"public, max-age={age_max_s}"}
    return Answer(HTTPStatus.OK, body, headers)


def answer_of_page(page: Page, *, known: str, age_max_s: int) -> Answer:
    """Answer with a page that stays as it is, or that the caller's copy, named by its tags in *known*, is that one."""
    headers = {"Cache-Control": f"public, max-age={age_max_s}", "ETag": page.tag, **page.headers}
    if page.tag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Answer(HTTPStatus.NOT_MODIFIED, "", headers)
    return Answer(HTTPStatus.OK, page.body, headers, content_type=page.content_type)


def status_of_file(content: bytes | None) -> int:
    """Return the status with which a file is sent, or that there is none."""
    return HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK


def answer_of_created(body: str) -> Answer:
    """Answer that something is there now which was not before."""
    return Answer(HTTPStatus.CREATED, body)


def answer_of_accepted(body: str, *, location: str) -> Answer:
    """Answer that the work is taken on, and where to ask for it."""
    return Answer(HTTPStatus.ACCEPTED, body, {"Location": location})


def answer_of_audio(audio: bytes, *, content_type: str) -> Answer:
    """Answer with a file of audio."""
    return Answer(HTTPStatus.OK, audio, {"X-Content-Type-Options": "nosniff"}, content_type=content_type)


def answer_of_elsewhere(location: str) -> Answer:
    """Answer where to GET what was asked for."""
    return Answer(HTTPStatus.SEE_OTHER, "", {"Location": location})


def answer_of_methods(methods: list[str]) -> Answer:
    """Answer a question for the methods of a route."""
    return Answer(HTTPStatus.NO_CONTENT, "", {"Allow": ", ".join(methods)})


def answer_of_batch(response: BatchResponse, *, request_id: str) -> Answer:
    """Answer with the results; with an error when every task failed in the same way, through no fault of its own."""
    errors = [result.error for result in response.results]
    statuses = {_status_of_task(error.code) if error else HTTPStatus.OK for error in errors}
    first = errors[0] if errors else None
    if first is None or len(statuses) > 1 or HTTPStatus.OK in statuses:
        return answer_of_json(response.model_dump_json())
    error = class_of(first.code)(
        first.message,
        retryable=any(error.retryable for error in errors if error),
        details=response.model_dump(mode="json"),
    )
    return answer_of_error(error, request_id=request_id)


def _status_of_task(code: str) -> HTTPStatus:
    known = class_of(code)
    return HTTPStatus.OK if issubclass(known, TASKS_OWN) else _status_of(known)


def answer_of_error(error: VolcengineError, *, request_id: str) -> Answer:
    """Answer with an error, and when to ask again if that may help."""
    status = _status_of(type(error))
    headers = _headers_of(error, status, login="Admin-API-Key")
    told = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "details": error.details,
        "request_id": request_id,
    }
    return Answer(status, json.dumps({"error": told}, ensure_ascii=False), headers, error.code)


def answer_of_openai_error(error: VolcengineError, *, request_id: str) -> Answer:
    """Answer with an error in OpenAI's shape, and say to its clients whether asking again helps."""
    status = _status_of(type(error), OPENAI_STATUS)
    fields = error.details.get("fields", ()) if isinstance(error, InvalidRequestError) else ()
    param = fields[0]["field"] if fields else OPENAI_PARAMS.get(error.code)
    told = {
        "message": OPENAI_KEY_WANTED if isinstance(error, AdminKeyError) else error.message,
        "type": _openai_type(status),
        "param": None if param == WHOLE_BODY else param,
        "code": OPENAI_CODES.get(error.code, error.code),
        "request_id": request_id,
    }
    headers = _headers_of(error, status, login="Bearer") | {"X-Should-Retry": json.dumps(error.retryable)}
    return Answer(status, json.dumps({"error": told}, ensure_ascii=False), headers, error.code)


def _openai_type(status: HTTPStatus) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def _headers_of(error: VolcengineError, status: HTTPStatus, *, login: str) -> dict[str, str]:
    """Return what an error says beside its body: when to ask again, how to log in, which methods there are."""
    headers = {}
    if status in ASK_AGAIN:
        headers["Retry-After"] = str(-(-(error.retry_after_ms or RETRY_AFTER_MS) // 1_000))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = login
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = ", ".join(error.details["allow"])
    return headers


def _status_of(
    error: type[VolcengineError], statuses: Mapping[type[VolcengineError], HTTPStatus] = STATUS
) -> HTTPStatus:
    return next(statuses[known] for known in error.__mro__ if known in statuses)


def told_as(error: type[VolcengineError], *, is_openai: bool = False) -> tuple[HTTPStatus, str]:
    """Return the status and the code with which errors of a class are told."""
    if is_openai:
        return _status_of(error, OPENAI_STATUS), OPENAI_CODES.get(error.code, error.code)
    return _status_of(error), error.code


def invalid(error: ValidationError) -> InvalidRequestError:
    """Turn a shape's error into one that names each field and its bound, and never says what was given."""
    fields = fields_of(error)
    first = f"{fields[0]['field']}: {fields[0]['message']}"
    count = error.error_count()
    message = first if count == 1 else f"{first}; and {count - 1} more, see details"
    return InvalidRequestError(message, details={"fields": fields, "fields_count": count})


def fields_of(error: ValidationError, *, within: tuple[str | int, ...] = ()) -> list[dict[str, Any]]:
    """Return the first fields that are wrong, each with its bound; *within* says what they are fields of."""
    return [_field(one, within) for one in error.errors(include_input=False, include_url=False)[:FIELDS_MAX]]


def _field(error: Mapping[str, Any], within: tuple[str | int, ...]) -> dict[str, Any]:
    message = "Unknown field" if error["type"] in UNKNOWN_FIELD else str(error["msg"])
    location = error["loc"]
    if location[:1] == ("credentials",) and error["type"] in UNKNOWN_FIELD:
        location = (*location[:-1], "?")  # a key may have been put where a name belongs
    told: dict[str, Any] = {"field": _path((*within, *location)), "message": message}
    context = error.get("ctx") or {}
    for bound in BOUNDS:
        if bound in context:
            told["bound"] = context[bound]
            break
    return told


def _path(location: tuple[str | int, ...]) -> str:
    """Return `tasks[17].text`; a name that is hardly a field's is not repeated."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if OWN_NAME.fullmatch(step) else "?")
    return path[:FIELD_CHARACTERS_MAX] or WHOLE_BODY


def answer_of_exception(
    error: Exception, *, request_id: str, on_bug: Callable[[Exception], None], shaped: Shape = answer_of_error
) -> Answer:
    """Answer with an error of ours to the caller; anything else is a mistake of ours, and *on_bug* is told of it."""
    if isinstance(error, VolcengineError):
        return shaped(error, request_id=request_id)
    on_bug(error)
    return shaped(
        VolcengineError("The gateway has a bug; its log has more under this request id"), request_id=request_id
    )


async def guarded(answering: Awaitable[T], otherwise: Callable[[Exception], T]) -> T:
    """Await an answer, or give another one whatever went wrong: the only place that catches everything."""
    try:
        return await answering
    except Exception as exc:
        return otherwise(exc)
