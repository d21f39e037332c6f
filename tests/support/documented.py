"""Answers held against the document of the routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from volcengine_gateway.openapi.document import document


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return path, method and description of each route."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def faults(body: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a body; a field that the document does not name is wrong, too."""
    schemas = {name: _closed(shape) for name, shape in document()["components"]["schemas"].items()}
    whole = {**schema, "components": {"schemas": schemas}}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(body)]


def schema_of(operation: Mapping[str, Any], status: int) -> dict[str, Any] | None:
    """Return what the JSON of an answer should be; None when it has none."""
    content = operation["responses"][str(status)].get("content", {})
    found: dict[str, Any] | None = content.get("application/json", {}).get("schema")
    return found


def _closed(shape: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": False, **shape} if "properties" in shape else shape
