"""Every event file gets its documented answer from the function in Lambda's runtime."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import pytest

from infra.local.upstream.audio import Wishes, audio_of
from tests.support.emulated_function import CALLER_APP_ID, EVENTS, LIMIT, EmulatedFunction, event_of
from tests.support.runtime_emulator import Json

pytestmark = pytest.mark.asyncio(loop_scope="module")

TELLING = {"health", "openapi", "pool", "pools", "voices"}
SPEAKING = {"generate_batch", "generate_batch_base64", "generate_batch_own_credentials"}
FAILING = {
    "generate_batch_invalid": (422, "invalid_request"),
    "unknown_route": (404, "unknown_route"),
    "wrong_admin_key": (401, "invalid_admin_key"),
    "wrong_method": (405, "method_not_allowed"),
}


async def test_every_event_file_is_tested_here() -> None:
    assert {path.stem for path in EVENTS.iterdir()} == TELLING | SPEAKING | set(FAILING)


@pytest.mark.parametrize("name", sorted(SPEAKING))
async def test_a_batch_comes_back_as_the_audio_of_its_texts_in_order(function: EmulatedFunction, name: str) -> None:
    tasks = tasks_of(name)

    answer = await function.invoke(name)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert [result["task_id"] for result in answer.body["results"]] == [task["task_id"] for task in tasks]
    assert [base64.b64decode(result["audio_base64"]) for result in answer.body["results"]] == spoken(tasks)
    assert all(result["error"] is None and result["duration_ms"] > 0 for result in answer.body["results"])


async def test_credentials_in_a_request_pay_for_it(function: EmulatedFunction) -> None:
    callers, servers = function.upstream.gauge(CALLER_APP_ID), function.gauge
    before = callers.bought, servers.bought

    answer = await function.invoke("generate_batch_own_credentials")

    assert answer.body["pool"]["limit"] == 2
    assert (callers.bought, servers.bought) == (before[0] + 1, before[1])


async def test_health_tells_the_limit_and_the_slots_in_use(function: EmulatedFunction) -> None:
    answer = await function.invoke("health")

    assert answer.status == 200
    assert answer.body.pop("version")
    assert (
        answer.body.items()
        >= {
            "status": "ok",
            "service": "volcengine-concurrent-tts",
            "limit": LIMIT,
            "slots_in_use": 0,
        }.items()
    )


async def test_voices_are_told_without_a_login(function: EmulatedFunction) -> None:
    answer = await function.invoke("voices")

    assert answer.status == 200
    assert answer.body["voices"]


async def test_the_document_of_the_routes_is_given_to_anybody(function: EmulatedFunction) -> None:
    answer = await function.invoke("openapi")

    assert (answer.status, answer.body["openapi"]) == (200, "3.1.0")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"


async def test_pools_tells_of_the_servers_pool(function: EmulatedFunction) -> None:
    answer = await function.invoke("pools")

    assert answer.status == 200
    assert answer.body["pools_count"] == len(answer.body["pools"])
    assert {"pool": "server", "limit": LIMIT, "cap": None, "slots_in_use": 0, "participants": 0} in answer.body["pools"]


async def test_a_pool_tells_who_holds_and_who_waits(function: EmulatedFunction) -> None:
    answer = await function.invoke("pool")

    assert answer.status == 200
    assert answer.body.items() >= {"pool": "server", "limit": LIMIT, "slots": [], "participants": []}.items()


@pytest.mark.parametrize("name", sorted(FAILING))
async def test_a_bad_request_gets_its_error_and_nothing_is_asked_of_the_upstream(
    function: EmulatedFunction, name: str
) -> None:
    status, code = FAILING[name]
    function.notes.clear()

    answer = await function.invoke(name)

    assert answer.status == status
    assert answer.body["error"]["code"] == code
    assert answer.body["error"]["request_id"] == event_of(name)["requestContext"]["requestId"]
    assert function.notes == []


async def test_a_wrong_method_is_told_the_right_ones(function: EmulatedFunction) -> None:
    answer = await function.invoke("wrong_method")

    assert answer.headers["Allow"] == "POST, OPTIONS"


async def test_an_invalid_batch_is_told_every_wrong_field(function: EmulatedFunction) -> None:
    answer = await function.invoke("generate_batch_invalid")

    fields = {field["field"] for field in answer.body["error"]["details"]["fields"]}
    assert fields == {"tasks[1].speed", "tasks[1].text"}


async def test_what_is_no_request_of_api_gateway_gets_an_answer_too(function: EmulatedFunction) -> None:
    answer = await function.emulator.invoke({})

    assert answer.status == 500
    assert (await function.invoke("health")).status == 200


def tasks_of(name: str) -> Sequence[Json]:
    """Return the tasks in an event's body."""
    event = event_of(name)
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
    tasks: Sequence[Json] = json.loads(body)["tasks"]
    return tasks


def spoken(tasks: Sequence[Json]) -> list[bytes]:
    """Return the audio of each task, as the simulated upstream makes it."""
    return [
        audio_of(
            Wishes(
                text=task["text"],
                voice_type=task.get("voice_type", "BV001_streaming"),
                encoding=task.get("encoding", "mp3"),
            )
        ).file
        for task in tasks
    ]
