"""The description of all routes as an OpenAPI 3.1 document: assembled when it is first asked for, then kept."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from volcengine_client import __version__
from volcengine_client.errors import VolcengineError
from volcengine_gateway.openapi import of_jobs, of_openai, of_speech, of_watching
from volcengine_gateway.openapi.operation import JSON, Example, Login, Operation, Parameter, Reply
from volcengine_gateway.openapi.shapes import reference_to, schemas_of, summary_of
from volcengine_gateway.problems import ASK_AGAIN, Page, told_as
from volcengine_gateway.told import Error, OpenAIError

Json = dict[str, Any]

ABOUT = """\
One Volcano Engine speech account, many applications, never over its limit.

Every answer has `X-Request-Id`. An error is `{"error": {…}}` with a `code` that does not change, and says whether \
asking again helps; with 429 and 503 comes `Retry-After` in seconds. What GET answers, HEAD answers without the body; \
OPTIONS tells a route's methods, any other method is 405 with `Allow`, an unknown path 404 `unknown_route`. \
API Gateway's own 413, 429, 500 and 503 are `{"message": "…"}`.
"""
TAGS = {
    of_speech.TAG: "Batches of texts, and the voices.",
    of_jobs.TAG: "Batches of any size, paid once, spoken when there is room.",
    of_openai.TAG: "For programs that speak through OpenAI's API.",
    of_watching.TAG: "How the gateway is doing.",
}
SCHEMES: Json = {
    "AdminKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Admin-API-Key",
        "description": "The gateway's admin key. A wrong one is refused everywhere.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The admin key, as OpenAI's clients show it."},
}
SECURITY: Mapping[Login, list[Json]] = {
    "anybody": [],
    "operator": [{"AdminKey": []}],
    "operator_or_own": [{"AdminKey": []}, {}],
    "bearer": [{"Bearer": []}],
}
HEADERS: Json = {
    name: {"description": description, "schema": schema}
    for name, description, schema in (
        ("X-Request-Id", "By which the operator finds this request.", {"type": "string"}),
        ("Location", "Where to ask for it.", {"type": "string"}),
        ("Retry-After", "Seconds after which asking again may help.", {"type": "integer", "minimum": 0}),
        ("WWW-Authenticate", "How the key is to be shown.", {"type": "string"}),
        ("Cache-Control", "How long it may be kept.", {"type": "string"}),
        ("ETag", "Show it as `If-None-Match`, and what did not change is answered with 304.", {"type": "string"}),
        ("X-Should-Retry", "Whether asking again helps.", {"type": "string", "enum": ["true", "false"]}),
    )
}
EVERYWHERE = (VolcengineError,)  # a bug of ours


def operations() -> Sequence[Operation]:
    """Return what is said of all routes."""
    rooms = (of_speech, of_jobs, of_openai, of_watching)
    return [operation for room in rooms for operation in room.operations()]


@cache
def document() -> Json:
    """Return the document; tens of milliseconds the first time."""
    told = operations()
    paths: dict[str, Json] = defaultdict(dict)
    for operation in told:
        paths[operation.path][operation.method] = _operation(operation)
    asked = [model for operation in told for model in operation.requests]
    answered = [
        model
        for operation in told
        for reply in operation.replies.values()
        for model in reply.models
        if reply.content == (JSON,) and model is not dict
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Volcano Engine text-to-speech gateway", "version": __version__, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": schemas_of(asked, [*answered, Error, OpenAIError]),
            "securitySchemes": SCHEMES,
            "headers": HEADERS,
        },
    }


@cache
def document_page() -> Page:
    """Return the document as it is served."""
    body = json.dumps(document(), ensure_ascii=False, separators=(",", ":"))
    return Page(body, JSON, tag_of(body), {"Access-Control-Allow-Origin": "*"})


def tag_of(body: str) -> str:
    """Return a tag that another body does not have."""
    return f'"{sha256(body.encode()).hexdigest()[:16]}"'


def errors_of(operation: Operation) -> Mapping[HTTPStatus, Sequence[type[VolcengineError]]]:
    """Return the errors with which a route may answer, by status."""
    found: dict[HTTPStatus, list[type[VolcengineError]]] = defaultdict(list)
    for error in dict.fromkeys((*operation.errors, *EVERYWHERE)):
        status, _ = told_as(error, is_openai=operation.is_openai)
        found[status].append(error)
    return dict(sorted(found.items()))


def _operation(operation: Operation) -> Json:
    told: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": SECURITY[operation.login],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {str(int(status)): _reply(operation, status, reply) for status, reply in operation.replies.items()}
        | {str(int(status)): _error(operation, status, errors) for status, errors in errors_of(operation).items()},
        "x-examples": [_request(operation, example) for example in operation.examples],
    }
    if operation.requests:
        bodies = {
            example.name: {"summary": example.summary, "value": example.body}
            for example in operation.examples
            if example.body is not None
        }
        content = {JSON: {"schema": _any_of(operation.requests), "examples": bodies}}
        told["requestBody"] = {"required": True, "content": content}
    return {name: value for name, value in told.items() if value or name == "security"}


def _parameter(parameter: Parameter) -> Json:
    told: Json = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.place == "path",
        "schema": dict(parameter.schema),
    }
    return told if parameter.example is None else {**told, "example": parameter.example}


def _request(operation: Operation, example: Example) -> Json:
    """Return a request as it is sent: what OpenAPI has no word for, since it puts each part elsewhere."""
    path = operation.path
    for name, value in example.path.items():
        path = path.replace(f"{{{name}}}", value)
    return {
        "summary": example.summary,
        "method": operation.method.upper(),
        "path": path + (f"?{example.query}" if example.query else ""),
        "headers": dict(example.headers),
        "body": example.body,
        "status": int(example.status),
    }


def _reply(operation: Operation, status: HTTPStatus, reply: Reply) -> Json:
    told: Json = {"description": reply.description, "headers": _headers("X-Request-Id", *reply.headers)}
    if not reply.models:
        return told
    if reply.content != (JSON,):
        kind: Json = {"type": "string"} if reply.models == (str,) else {}
        return {**told, "content": {name: {"schema": kind} for name in reply.content}}
    answers = {
        example.name: {"summary": example.summary, "value": example.answer}
        for example in operation.examples
        if example.status == status and example.answer is not None
    }
    content = {"schema": _any_of(reply.models)} | ({"examples": answers} if answers else {})
    return {**told, "content": {JSON: content}}


def _error(operation: Operation, status: HTTPStatus, errors: Sequence[type[VolcengineError]]) -> Json:
    codes = [told_as(error, is_openai=operation.is_openai)[1] for error in errors]
    meanings = dict(zip(codes, errors, strict=True))
    named = {"properties": {"error": {"properties": {"code": {"enum": list(meanings)}}}}}
    shape = reference_to(OpenAIError if operation.is_openai else Error)
    names = ["X-Request-Id"]
    names += ["Retry-After"] if status in ASK_AGAIN else []
    names += ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    names += ["X-Should-Retry"] if operation.is_openai else []
    examples = {code: {"value": _problem(operation, status, code, error)} for code, error in meanings.items()}
    return {
        "description": "\n".join(f"- `{code}`: {meaning_of(error)}" for code, error in meanings.items()),
        "headers": _headers(*names),
        "content": {JSON: {"schema": {"allOf": [shape, named]}, "examples": examples}},
    }


def meaning_of(error: type[VolcengineError]) -> str:
    """Return what an error means, as its class says."""
    return "The gateway has a bug." if error is VolcengineError else " ".join(summary_of(error).split())


def _problem(operation: Operation, status: HTTPStatus, code: str, error: type[VolcengineError]) -> Json:
    message = meaning_of(error)
    if operation.is_openai:
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        kind = "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else kind
        return {"error": {"message": message, "type": kind, "param": None, "code": code, "request_id": "JK2xZ"}}
    raised = error(message)
    return {
        "error": {
            "code": code,
            "message": message,
            "retryable": raised.retryable,
            "details": {},
            "request_id": "JK2xZ",
        }
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _any_of(models: Sequence[type]) -> Json:
    if models == (dict,):
        return {"type": "object"}
    shapes = [reference_to(model) for model in models]
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
