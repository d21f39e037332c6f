"""Uploads in S3, emulated: what the signed address covers, and how a list is read in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from moto import mock_aws

from tests.support.jobs import DAY_MS
from volcengine_client.clock import SystemClock
from volcengine_client.errors import StoreError
from volcengine_client.limits import UPLOAD_URL_MS
from volcengine_gateway.jobs.aws import DynamoDBJobTable, store_of
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.requests import Requests
from volcengine_gateway.jobs.s3 import S3Files
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.settings import JobSettings

NAME = "jobs/0123/upload.jsonl"
SETTINGS = JobSettings(
    table="the-jobs",
    bucket="the-bucket",
    queue_url="https://queue",
    jobs_kept_days=7,
    speech_kept_days=30,
)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="the-bucket")
        boto3.client("dynamodb").create_table(
            TableName="the-jobs",
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield store_of(SETTINGS, clock=SystemClock())


def job(**instead: Any) -> Job:
    return Job(
        **{
            "job_id": "0123",
            "account": "server",
            "app": "default",
            "is_background": True,
            "created_at_ms": 1,
            "kept_until_s": 2,
            "task_count": 1,
            "chunk_count": 1,
            "character_count": 1,
            **instead,
        }
    )


@pytest.mark.parametrize(
    ("byte_count", "signed"), [(None, "content-type;host"), (17, "content-length;content-type;host")]
)
def test_the_address_takes_one_file_of_one_kind_and_size_for_an_hour(
    store: JobStore, byte_count: int | None, signed: str
) -> None:
    address = store.files.upload_address(NAME, byte_count=byte_count)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address.url).query).items()}

    assert urlsplit(address.url).path.endswith(NAME)
    assert urlsplit(address.url).scheme == "https"
    assert asked["X-Amz-SignedHeaders"] == signed
    assert asked["X-Amz-Expires"] == str(UPLOAD_URL_MS // 1_000)
    assert address.headers == {"Content-Type": "application/x-ndjson"}
    assert not [name for name in asked if "checksum" in name.lower()], "it would be that of an empty file"


@pytest.mark.usefixtures("store")
async def test_a_list_is_read_in_parts_of_one_version() -> None:
    client, clock = boto3.client("s3"), SystemClock()
    files = S3Files("the-bucket", client=client, requests=Requests(clock=clock), clock=clock, found_max_ms=DAY_MS)
    missing = await files.stored(NAME)
    await files.put(NAME, b"0123456789")
    stored = await files.stored(NAME)
    assert stored is not None
    parts = [await files.part(NAME, of=stored, first=first, count=5) for first in (0, 5)]
    await files.put(NAME, b"9876543210")

    assert (missing, stored.byte_count, parts) == (None, 10, [b"01234", b"56789"])
    with pytest.raises(StoreError, match="uploaded anew") as caught:
        await files.part(NAME, of=stored, first=0, count=5)
    assert caught.value.retryable


@pytest.mark.usefixtures("store")
async def test_a_job_is_added_once() -> None:
    table = DynamoDBJobTable("the-jobs", client=boto3.client("dynamodb"), requests=Requests(clock=SystemClock()))
    added = [await table.add_once(job(app=app)) for app in ("first", "second")]
    known = await table.get("0123")

    assert added == [True, False]
    assert known is not None
    assert (known.app, known.digest) == ("first", "")
