"""The document of the routes: complete, true, and served to anybody."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from tests.support.documented import faults, operations, schema_of
from tests.support.gateway import ADMIN_KEY, Bench, event
from tests.support.jobs import Workshop
from volcengine_client import errors
from volcengine_client.errors import VolcengineError
from volcengine_client.models import BatchRequest, JobRequest, TaskItem
from volcengine_gateway import problems
from volcengine_gateway.openapi.document import document
from volcengine_gateway.openapi.shapes import attributes_of, schemas_of
from volcengine_gateway.told import JobPageTold

# What only a task, a client of ours, a signed address, or a class above others has; the rest is some request's.
NEVER_A_REQUESTS = {
    "address_refused",
    "answer_full",
    "batch_stopped",
    "caller_error",
    "gateway_unavailable",
    "job_cancelled",
    "job_failed",
    "job_lost",
    "method_not_allowed",
    "pool",
    "upstream",
}


def routes() -> set[tuple[str, str]]:
    """Return method and path of each route that answers; OPTIONS is every path's."""
    resolver = Bench().routes._resolver
    found = [*resolver._static_routes, *resolver._dynamic_routes]
    return {(route.method.lower(), route.path.replace("<", "{").replace(">", "}")) for route in found}


def documented() -> set[tuple[str, str]]:
    """Return method and path of each route that is described; what GET does, HEAD does too."""
    told = {(method, path) for path, method, _ in operations()}
    return told | {("head", path) for method, path in told if method == "get"}


def subclasses(of: type[VolcengineError]) -> Iterator[type[VolcengineError]]:
    yield of
    for one in of.__subclasses__():
        yield from subclasses(one)


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    assert routes() == documented()


def test_the_document_is_openapi_3_1_and_its_references_lead_somewhere() -> None:
    schemathesis.openapi.from_dict(copy.deepcopy(document())).validate()
    named = set(document()["components"]["schemas"])
    meant = {part.partition('"')[0] for part in json.dumps(document()).split("#/components/schemas/")[1:]}

    assert meant <= named
    assert len({operation["operationId"] for _, _, operation in operations()}) == len(list(operations()))


def test_everything_is_described() -> None:
    shapes = document()["components"]["schemas"]
    fields = {
        f"{name}.{field}": shape for name, told in shapes.items() for field, shape in told.get("properties", {}).items()
    }
    parameters = [one for _, _, operation in operations() for one in operation.get("parameters", [])]

    assert [name for name, shape in (shapes | fields).items() if not shape.get("description")] == []
    assert all(one["description"] for one in parameters)
    assert all(operation["summary"].endswith(".") and operation["x-examples"] for _, _, operation in operations())


def test_every_error_is_some_requests_or_known_to_be_none() -> None:
    known = {one.code for one in subclasses(VolcengineError) if one.__module__ in {errors.__name__, problems.__name__}}
    told = {
        code
        for _, _, operation in operations()
        for status, reply in operation["responses"].items()
        if status >= "400"
        for code in reply["content"]["application/json"]["examples"]
    }

    assert known - told - NEVER_A_REQUESTS == set()
    assert told & NEVER_A_REQUESTS == set()


def test_the_fields_of_a_model_are_described_by_its_docstring_and_those_it_extends() -> None:
    schemas = schemas_of([JobRequest], [JobPageTold])

    assert attributes_of(JobPageTold)["job_id"] == "By which it is asked for."
    assert schemas["JobPage"]["properties"]["error"]["description"].endswith("null when it did not.")
    assert schemas["JobRequest"]["properties"]["deadline_s"]["anyOf"][0] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 604_800,
    }
    assert "Attributes" not in json.dumps(schemas)


@pytest.mark.parametrize(
    ("task", "is_fine"),
    [
        ({"text": "好"}, True),
        ({"prompt": "好"}, True),
        ({"text": "好", "task_id": "1", "speed": 2, "sample_rate": 16_000}, True),
        ({}, False),
        ({"text": "好", "prompt": "好"}, False),
        ({"text": ""}, False),
        ({"text": " \n "}, False),
        ({"text": "a\ufffdb"}, False),
        ({"text": "好", "task_id": "a\u0000"}, False),
        ({"text": "好", "output_filename": "a/b.mp3"}, False),
        ({"text": "好", "speed": 9}, False),
        ({"text": "好", "speed": "1"}, False),
        ({"text": "好", "speed": True}, False),
        ({"text": "好", "sample_rate": 1}, False),
        ({"text": "好", "colour": 1}, False),
    ],
)
async def test_the_schema_of_a_task_refuses_what_the_gateway_refuses(task: dict[str, Any], *, is_fine: bool) -> None:
    said = faults({"tasks": [task]}, {"$ref": "#/components/schemas/BatchRequest"})

    assert (said == []) is is_fine
    try:
        BatchRequest.model_validate_json(json.dumps({"tasks": [task]}))
    except ValueError:
        assert not is_fine
    else:
        assert is_fine


def test_a_table_of_text_may_still_hold_its_numbers_as_text() -> None:
    given: Any = {"text": "好", "speed": "1.5"}

    assert TaskItem(**given).speed == 1.5


def test_every_answer_that_is_shown_fits_its_schema() -> None:
    shown = [
        (operation["operationId"], status, name, example["value"], content["schema"])
        for _, _, operation in operations()
        for status, reply in operation["responses"].items()
        for content in reply.get("content", {}).values()
        for name, example in content.get("examples", {}).items()
    ]
    wrong = [(*where, said) for *where, value, schema in shown if (said := faults(value, schema))]

    assert wrong == []
    assert len(shown) > 100


async def test_every_request_that_is_shown_works_and_is_answered_as_documented(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    bench = workshop.bench()
    job_id = await workshop.submit(["第七章。"], app="audiobook")
    await workshop.slice(job_id)
    sent_count = 0
    for path, method, operation in operations():
        for example in operation["x-examples"]:
            sent_count += 1
            told = await ask(bench, operation, example, job_id=job_id)
            assert told.status == example["status"], (path, method, told.body)
            schema = schema_of(operation, told.status)
            assert schema is None or faults(told.said, schema) == []
            kind = told.headers["Content-Type"].partition(";")[0]
            assert kind in operation["responses"][str(told.status)]["content"]

    assert sent_count > 15
    assert bench.journal.bugs == []


async def ask(bench: Bench, operation: dict[str, Any], example: dict[str, Any], *, job_id: str) -> Any:
    """Send a request that is shown, with its key and a job that there is."""
    keys = {"AdminKey": ("Admin-API-Key", ADMIN_KEY), "Bearer": ("Authorization", f"Bearer {ADMIN_KEY}")}
    path, _, query = example["path"].replace("0123456789abcdef0123456789abcdef", job_id).partition("?")
    headers = dict([keys[name] for one in operation["security"] for name in one])
    body = None if example["body"] is None else json.dumps(example["body"])
    asked = event(example["method"], path, body=body)
    return await bench.ask({**asked, "rawQueryString": query, "headers": {**headers, **example["headers"]}})


@pytest.mark.parametrize(("path", "kind"), [("/openapi.json", "application/json"), ("/docs", "text/html")])
async def test_it_is_served_to_anybody_who_may_keep_it(path: str, kind: str) -> None:
    bench = Bench()
    told = await bench.ask(event("GET", path))
    tag = told.headers["ETag"]
    again = [await bench.ask(event("GET", path, If_None_Match=known)) for known in (tag, f'"x", W/{tag}')]
    other = await bench.ask(event("GET", path, If_None_Match='"x"'))

    assert told.status == 200
    assert told.headers["Content-Type"].partition(";")[0] == kind
    assert told.headers["Cache-Control"] == "public, max-age=3600"
    assert [(one.status, one.body) for one in again] == [(304, "")] * 2
    assert other.status == 200


async def test_the_document_that_is_served_is_the_one_that_is_tested() -> None:
    told = await Bench().ask(event("GET", "/openapi.json"))

    assert told.said == document()
