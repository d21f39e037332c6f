"""The tables that one suite asks: memory, memory behind a network, DynamoDB in moto and in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from tests.support.emulated_dynamodb import emulated_dynamodb
from tests.support.lagging_table import LaggingTable, shared_table
from tests.support.virtual_time import TrueTime, VirtualClock
from volcengine_client.clock import Clock, SystemClock
from volcengine_client.pool.dynamodb import DynamoDBTable, pool_client
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.table import PoolTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True)
class StoppedClock:
    """A clock that always shows the same, so that bounds can be read off a reply."""

    at_ms: int = 5_000

    def monotonic_ms(self) -> int:
        return self.at_ms

    def wall_ms(self) -> int:
        return self.at_ms

    async def sleep(self, duration_ms: int) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Emulated:
    """A DynamoDB table in an emulator, and ways to it."""

    table_name: str
    endpoint_url: str | None = None

    def client(self) -> DynamoDBClient:
        return pool_client(region=REGION, endpoint_url=self.endpoint_url)

    def table(self, clock: Clock | None = None) -> DynamoDBTable:
        return DynamoDBTable(self.table_name, client=self.client(), clock=clock or SystemClock())

    def make(self) -> None:
        self.client().create_table(
            TableName=self.table_name,
            KeySchema=[{"AttributeName": "pool", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pool", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


@pytest.fixture(scope="session")
def _aws_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory, _aws_environment: None) -> Iterator[str]:
    """Start one emulator for all tests that need it."""
    with emulated_dynamodb(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def ministack(emulator_url: str, request: pytest.FixtureRequest) -> Emulated:
    """Return a new table in an emulator that is right when two write at once."""
    emulated = Emulated(f"pools-{abs(hash(request.node.nodeid))}", emulator_url)
    emulated.make()
    return emulated


@pytest.fixture
def moto(_aws_environment: None) -> Iterator[Emulated]:
    """Return a new table in this process; for one writer at a time."""
    with mock_aws():
        emulated = Emulated("pools")
        emulated.make()
        yield emulated


@pytest.fixture(params=["memory", "lagging", "moto", "ministack"])
def table(request: pytest.FixtureRequest) -> PoolTable:
    """Return an empty table of every kind."""
    if request.param == "memory":
        return MemoryTable(clock=SystemClock())
    if request.param == "lagging":
        truth = TrueTime()
        return LaggingTable(shared_table(truth), clock=VirtualClock(truth), lag_ms=0)
    emulated: Emulated = request.getfixturevalue(request.param)
    return emulated.table()
