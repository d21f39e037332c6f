"""Every table of jobs lists them alike: each once, the youngest first, and never looks at too many for one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product, starmap
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from volcengine_client.clock import SystemClock
from volcengine_client.errors import JobFailedError
from volcengine_gateway.jobs import aws as cloud
from volcengine_gateway.jobs import local, store
from volcengine_gateway.jobs.job import JOB_STATES, Job, JobState, cancelled, claimed, failed, lost
from volcengine_gateway.jobs.requests import Requests
from volcengine_gateway.jobs.store import JobTable, Turn, Turns, Wanted

LISTED_MAX, LOOKED_AT_MAX = 4, 10
AT_MS = 1_767_225_600_000
ACCOUNT = "server"


class Tables:
    """The same jobs and turns in one kind of table."""

    def __init__(self, jobs: JobTable, turns: Turns) -> None:
        self.jobs = jobs
        self.turns = turns


def _in_dynamodb(_folder: Path) -> Tables:
    client = boto3.client("dynamodb", region_name="us-east-1")
    names = ("job_id", "account", "sorted_by")
    client.create_table(
        TableName="jobs",
        KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        GlobalSecondaryIndexes=[
            {
                "IndexName": cloud.BY_ACCOUNT,
                "KeySchema": [
                    {"AttributeName": "account", "KeyType": "HASH"},
                    {"AttributeName": "sorted_by", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    requests = Requests(clock=SystemClock())
    return Tables(
        cloud.DynamoDBJobTable("jobs", client=client, requests=requests),
        cloud.DynamoDBTurns("jobs", client=client, requests=requests),
    )


def _in_sqlite(folder: Path) -> Tables:
    table = local.SQLiteJobTable(folder / "jobs.sqlite3")
    return Tables(table, table)


@pytest.fixture(params=[_in_dynamodb, _in_sqlite], ids=["dynamodb", "sqlite"])
def tables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    for module in (store, local, cloud):
        monkeypatch.setattr(module, "JOBS_LISTED_MAX", LISTED_MAX)
    for module in (local, cloud):
        monkeypatch.setattr(module, "JOBS_LOOKED_AT_MAX", LOOKED_AT_MAX)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    make: Callable[[Path], Tables] = request.param
    with mock_aws():
        yield make(tmp_path)


def _job(number: int, state: JobState = "queued", app: str = "a") -> Job:
    job = Job(
        job_id=f"{number:032x}",
        account=ACCOUNT,
        app=app,
        is_background=True,
        created_at_ms=AT_MS + number // 3,  # some at the same instant
        kept_until_s=AT_MS,
        task_count=1,
        chunk_count=1,
        character_count=1,
    )
    made: dict[JobState, Job | None] = {
        "queued": job,
        "running": claimed(job, worker_id="w", now_ms=AT_MS, until_ms=AT_MS + 1, attempt=1),
        "done": replace(job, started_at_ms=AT_MS, ended_at_ms=AT_MS),
        "failed": failed(job, JobFailedError("gone"), now_ms=AT_MS),
        "cancelled": cancelled(job, now_ms=AT_MS),
    }
    found = made[state]
    assert found is not None
    return replace(found, revision=1)


async def _pages(tables: Tables, wanted: Wanted) -> list[list[Job]]:
    pages: list[list[Job]] = []
    after: str | None = None
    while True:
        page = await tables.jobs.of_account(ACCOUNT, wanted, after=after)
        pages.append(list(page.jobs))
        after = page.after
        if after is None:
            return pages


async def test_each_job_is_listed_once_under_any_filter(tables: Tables) -> None:
    jobs = [_job(number, JOB_STATES[number % 5], "ab"[number % 2]) for number in range(43)]
    for job in [*jobs, replace(_job(99), account="another")]:
        await tables.jobs.add(job)
    for wanted in starmap(Wanted, product((None, "a", "nobody's"), (None, *JOB_STATES))):
        pages = await _pages(tables, wanted)

        assert [job for page in pages for job in page] == [job for job in reversed(jobs) if wanted.includes(job)]
        assert all(len(page) <= LISTED_MAX for page in pages)


async def test_a_list_looks_at_a_bounded_number_of_jobs_and_goes_on_behind_them(tables: Tables) -> None:
    await tables.jobs.add(_job(0, "failed"))
    for number in range(1, 3 * LOOKED_AT_MAX):
        await tables.jobs.add(_job(number))
    pages = await _pages(tables, Wanted(state="failed"))

    assert [len(page) for page in pages if page] == [1]
    assert 3 <= len(pages) <= 4


async def test_a_job_is_found_in_the_state_that_it_was_last_written_in(tables: Tables) -> None:
    job = _job(1)
    await tables.jobs.add(job)
    over = lost(job, now_ms=AT_MS)
    assert over is not None
    await tables.jobs.write(over)

    assert [await _pages(tables, Wanted(state=state)) for state in ("queued", "failed")] == [[[]], [[over]]]


async def test_of_several_that_find_a_job_past_one_begins(tables: Tables) -> None:
    await tables.turns.end("t", Turn("d", AT_MS + 1_000, is_over=True, job_id="past"))
    refused = await tables.turns.begin("t", Turn("d", AT_MS + 1_000, token="1"), now_ms=AT_MS)
    others = await tables.turns.begin("t", Turn("d", AT_MS + 1_000, token="2"), now_ms=AT_MS, past="another")
    begun = [
        await tables.turns.begin("t", Turn("d", AT_MS + 1_000, token=str(number)), now_ms=AT_MS, past="past")
        for number in range(3)
    ]

    assert refused is not None
    assert others is not None
    assert refused.job_id == others.job_id == "past"
    assert [one is None for one in begun] == [True, False, False]
