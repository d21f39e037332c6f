"""What is said of a route, and what several routes have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from volcengine_client.errors import (
    AdminKeyError,
    BatchTooLargeError,
    CapacityError,
    ConcurrencyExceededError,
    CredentialsError,
    DeadlineCutError,
    InvalidRequestError,
    LeaseLostError,
    LoginRejectedError,
    NoSlotInTimeError,
    PoolTableError,
    QuotaUsedUpError,
    SecretError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX
from volcengine_gateway.problems import BodyLateError, NotJSONError
from volcengine_gateway.told import JobTakenTold

Login = Literal["anybody", "operator_or_own", "operator", "bearer"]

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request that works, and an answer to one like it.

    Attributes:
        name: Of letters, digits and underscores.
        summary: What it shows.
        path: Values for the names in the path.
        query: The address's part after the question mark.
        headers: Beside the key's.
        body: JSON; None: none.
        status: Of the answer.
        answer: Its body; None for one that is no JSON, or too long to be shown.
    """

    name: str
    summary: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    status: HTTPStatus = HTTPStatus.OK
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route.

    Attributes:
        place: Where it stands.
        name: As it stands there.
        description: What it asks for.
        schema: What it may be.
        example: One that works; None: the schema says enough.
    """

    place: Literal["query", "path", "header"]
    name: str
    description: str
    schema: Mapping[str, Any]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer when all is well.

    Attributes:
        description: When it comes.
        models: Any of them is its body.
        headers: Which ones matter, of `document.HEADERS`.
        content: The kinds of its body.
    """

    description: str
    models: tuple[type, ...] = ()
    headers: tuple[str, ...] = ()
    content: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route.

    Attributes:
        method: Of HTTP, in lower case; what GET does, HEAD does too.
        path: With names in braces.
        name: By which tools call it.
        tag: Where the page puts it.
        summary: In one line.
        description: What the summary leaves out.
        login: Who may ask: anybody; the operator; the operator, and who brings an account of its own; the operator by
            OpenAI's header.
        parameters: In the address and the headers.
        requests: Models of the body, any of them; none: it has none.
        replies: The answers when all is well, by status.
        errors: Which errors it may answer with, beside a bug of ours; `problems.py` knows their statuses.
        is_openai: Whether errors are told as OpenAI does.
        examples: Requests that work.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    description: str = ""
    login: Login
    parameters: Sequence[Parameter] = ()
    requests: tuple[type, ...] = ()
    replies: Mapping[HTTPStatus, Reply]
    errors: Sequence[type[VolcengineError]] = ()
    is_openai: bool = False
    examples: Sequence[Example] = ()


IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "Makes a retry safe for a day: the same key and body lead to the same answer or job, the same key with another "
    "body is refused with 422.",
    {"type": "string", "pattern": rf"^[ -~]{{1,{IDEMPOTENCY_KEY_CHARACTERS_MAX}}}$"},
    "chapter-7-take-1",
)
DRY_RUN = Parameter(
    "query",
    "dry_run",
    "`true`: only say what the batch would call, save and refuse; nothing is bought.",
    {"type": "boolean", "default": False},
)
PREFER = Parameter(
    "header",
    "Prefer",
    "`respond-async`: take the batch on as a job at once, and answer 202.",
    {"type": "string"},
    "respond-async",
)
OPERATORS = (AdminKeyError, SecretError)
BODY = (BatchTooLargeError, NotJSONError, InvalidRequestError, BodyLateError, CapacityError)
PAYING = (CredentialsError, *OPERATORS)
# When every task failed in one of these ways, the request did.
SPEAKING = (
    NoSlotInTimeError,
    UpstreamThrottledError,
    ConcurrencyExceededError,
    UpstreamRejectedError,
    LoginRejectedError,
    QuotaUsedUpError,
    UpstreamUnavailableError,
    UpstreamTimeoutError,
    DeadlineCutError,
    LeaseLostError,
    PoolTableError,
)

ESTIMATED = "What it would take (`dry_run=true`)."
TAKEN = Reply("Taken on as a job, or it was before.", (JobTakenTold,), ("Location",))
