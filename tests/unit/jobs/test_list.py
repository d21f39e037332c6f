"""Lists of jobs, through the route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, event
from tests.support.jobs import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


async def _listed(workshop: Workshop, query: str) -> Any:
    asked = {**event("GET", "/jobs", admin_key=ADMIN_KEY), "rawQueryString": query}
    return await workshop.bench().ask(asked)


async def test_jobs_in_a_state_are_listed_page_by_page(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcengine_gateway.jobs.store.JOBS_LISTED_MAX", 2)
    monkeypatch.setattr("volcengine_gateway.jobs.local.JOBS_LOOKED_AT_MAX", 3)
    made = [await workshop.submit([f"text {number}"]) for number in range(9)]
    for job_id in made[::2]:
        await workshop.jobs.cancel(job_id)
    listed: list[str] = []
    after, page_count = "", 0
    while after is not None:
        told = (await _listed(workshop, f"state=cancelled&after={after}" if after else "state=cancelled")).said
        listed += [job["job_id"] for job in told["jobs"]]
        after, page_count = told["next_after"], page_count + 1

    assert sorted(listed) == sorted(made[::2])
    assert page_count >= 3


async def test_a_state_that_is_none_is_refused_with_those_that_are(workshop: Workshop) -> None:
    told = await _listed(workshop, "state=lost")
    [field] = told.error["details"]["fields"]

    assert told.status == 422
    assert field["field"] == "state"
    assert all(state in field["message"] for state in ("queued", "running", "done", "failed", "cancelled"))
