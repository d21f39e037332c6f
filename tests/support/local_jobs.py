"""Jobs of the deployed local stack."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import aiohttp
from yarl import URL

from infra.local.waiting import until
from tests.support.crowd import Task, expected_audio
from tests.support.local_stack import Answer, Aws, Gateway
from volcengine_client.clock import SystemClock

ENDED_MAX_MS = 170_000
PAGE_TASKS = 500
DOWNLOADS_MAX = 16


async def submitted(gateway: Gateway, tasks: Sequence[Task], **rest: Any) -> str:
    """Submit a job; return its address."""
    body = {"tasks": list(tasks), **rest}
    answer = await gateway.ask("POST", "/jobs", headers=gateway.admin, json=body)
    assert answer.status == 202, answer.text
    assert answer.headers["Location"] == answer.json["status_url"]
    address: str = answer.json["status_url"]
    return address


async def uploaded(gateway: Gateway, session: aiohttp.ClientSession, content: bytes) -> str:
    """Upload a list of tasks; return the upload's id."""
    wish = {"upload": True, "bytes": len(content)}
    answer = await gateway.ask("POST", "/jobs", headers=gateway.admin, json=wish)
    assert answer.status == 201, answer.text
    upload: dict[str, Any] = answer.json["upload"]
    url = URL(upload["url"], encoded=True)
    async with session.request(upload["method"], url, data=io.BytesIO(content), headers=upload["headers"]) as response:
        assert response.status == 200
    upload_id: str = upload["upload_id"]
    return upload_id


async def told(gateway: Gateway, address: str, *, after: int | None = None, limit: int = 0) -> dict[str, Any]:
    """Return a job and a page of its results."""
    query = f"?limit={limit}" + ("" if after is None else f"&after={after}")
    answer = await gateway.get(address + query, headers=gateway.admin)
    assert answer.status == 200, answer.text
    job: dict[str, Any] = answer.json
    return job


async def ended(gateway: Gateway, address: str, *, within_ms: int = ENDED_MAX_MS) -> dict[str, Any]:
    """Wait until a job is over, and return it."""
    job: dict[str, Any] = {}

    async def is_over() -> bool:
        job.update(await told(gateway, address))
        return job["ended_at_ms"] is not None

    await until(is_over, what="the job is over", within_ms=within_ms, clock=SystemClock())
    return job


async def results_of(gateway: Gateway, address: str) -> list[dict[str, Any]]:
    """Return all results of a job, page by page."""
    results: list[dict[str, Any]] = []
    after: int | None = None
    while True:
        page = await told(gateway, address, after=after, limit=PAGE_TASKS)
        results += page["results"]
        after = page["next_after"]
        if after is None or not page["results"]:
            return results


async def assert_job_right(
    session: aiohttp.ClientSession, tasks: Sequence[Task], results: list[dict[str, Any]]
) -> None:
    """Every result is the audio of its own task, in input order (I3, I4), and can be fetched by its address."""
    room = asyncio.Semaphore(DOWNLOADS_MAX)

    async def fetched(result: dict[str, Any]) -> bytes:
        async with room, session.get(result["audio_url"]) as response:
            assert response.status == 200
            return await response.read()

    assert [result["task_id"] for result in results] == [task["task_id"] for task in tasks]
    assert [result["error"] for result in results] == [None] * len(tasks)
    for task, audio in zip(tasks, await asyncio.gather(*map(fetched, results)), strict=True):
        assert audio == await asyncio.to_thread(expected_audio, task), "the audio of another task"


def pool_writes(aws: Aws) -> int:
    """Return how often the server's pool was written so far."""
    return sum(int(item["rev"]["N"]) for item in aws.pools() if item["pool"]["S"] == "server")


def is_same_refusal(answers: Sequence[Answer]) -> bool:
    """Tell whether answers differ in nothing but their request id."""
    stripped = {(answer.status, str({**answer.json["error"], "request_id": ""})) for answer in answers}
    return len(stripped) == 1
