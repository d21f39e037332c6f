"""Either door's answers about jobs that are not there, are over, or should call back where they must not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, event
from tests.support.jobs import DAY_MS, ShiftedClock, Workshop
from tests.unit.gateway.test_server import Visit, settings
from volcengine_gateway.server import Application

KEPT_DAYS = 7


@dataclass(frozen=True)
class Door:
    """A way to ask for jobs.

    Attributes:
        ask: Sends method, path and body; returns status and answer.
        clock: By which jobs expire.
    """

    ask: Callable[..., Awaitable[tuple[int, Any]]]
    clock: ShiftedClock

    async def submitted(self, **fields: Any) -> str:
        """Submit a job; return its address."""
        status, said = await self.ask("POST", "/jobs", {"tasks": [{"text": "Hello."}], **fields})
        assert status == 202, said
        return str(said["status_url"])


@pytest.fixture(params=["lambda", "self-hosted"])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Door]:
    if request.param == "lambda":
        workshop = Workshop(tmp_path)
        bench = workshop.bench()

        async def through_lambda(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            content = None if body is None else json.dumps(body)
            path, _, query = path.partition("?")
            asked = {**event(method, path, body=content, admin_key=ADMIN_KEY), "rawQueryString": query}
            told = await bench.ask(asked)
            return told.status, told.said

        yield Door(through_lambda, workshop.clock)
        return
    clock = ShiftedClock()
    application = Application(settings(data_folder=str(tmp_path), admin_key=ADMIN_KEY), clock=clock)

    async def through_server(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"Admin-API-Key": ADMIN_KEY, "Content-Type": "application/json"}
        visit = await Visit(method, path, headers, (content,)).to(application)
        return visit.status, json.loads(visit.body)

    yield Door(through_server, clock)
    await application.close()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_foreign_malformed_and_expired_ids_are_told_alike(door: Door, method: str) -> None:
    """Whoever tries ids learns nothing of which were once a job's, or are something else's."""
    expired = await door.submitted()
    door.clock.ahead_ms += (KEPT_DAYS + 1) * DAY_MS
    ids = ["0" * 32, "f" * 32, "turn:body", "1234", "a.b", "%7B%7D%22", "..%2f", "A" * 32, "x" * 300]
    answers = [await door.ask(method, path) for path in [expired, *(f"/jobs/{job_id}" for job_id in ids)]]
    alike = {json.dumps({**said["error"], "request_id": ""}) for _, said in answers}

    assert {status for status, _ in answers} == {404}
    assert len(alike) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_accounts_job_is_told_like_none(door: Door, method: str) -> None:
    """Who asks for one account finds nothing of the others'."""
    address = await door.submitted()
    foreign, unknown = [
        await door.ask(method, path) for path in (f"{address}?account=other", f"/jobs/{'0' * 32}?account=other")
    ]
    own = await door.ask("GET", address)

    assert foreign[0] == unknown[0] == 404
    assert {**foreign[1]["error"], "request_id": ""} == {**unknown[1]["error"], "request_id": ""}
    assert own[1]["state"] in {"queued", "running", "done"}


async def test_a_job_may_be_cancelled_twice(door: Door) -> None:
    address = await door.submitted()
    first, second = [await door.ask("DELETE", address) for _ in range(2)]

    assert first == second
    assert (first[0], first[1]["state"]) == (200, "cancelled")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "http://127.0.0.1:1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "file:///etc/passwd",
    ],
)
async def test_a_callback_that_leads_inside_is_refused(door: Door, url: str) -> None:
    status, said = await door.ask("POST", "/jobs", {"tasks": [{"text": "Hello."}], "callback_url": url})

    assert (status, said["error"]["code"]) == (422, "invalid_request")
    assert [one["field"] for one in said["error"]["details"]["fields"]] == ["callback_url"]
