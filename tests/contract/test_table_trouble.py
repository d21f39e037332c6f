"""What the adapter makes of a DynamoDB that refuses, breaks or is silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest

from tests.contract.conftest import REGION, Emulated, StoppedClock
from tests.support.pools import NAME, entry
from tests.support.scripted_upstream import Answer, ScriptedUpstream, cuts, hangs, raw, raw_answer
from volcengine_client.clock import SystemClock
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import TABLE_REQUESTS_MAX
from volcengine_client.pool.dynamodb import DynamoDBTable, pool_client
from volcengine_client.pool.slots import PoolState

pytestmark = pytest.mark.usefixtures("_aws_environment")

ASK: dict[str, Callable[[DynamoDBTable], Awaitable[object]]] = {
    "read": lambda table: table.read(NAME),
    "create": lambda table: table.create(NAME, PoolState()),
    "write": lambda table: table.write(NAME, PoolState(), PoolState(queue={"me": entry()})),
    "names": lambda table: table.names(),
}


def _refuses(status: int, code: str) -> Answer:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}).encode()
    return raw(raw_answer(status, body, Date=formatdate(usegmt=True), x_amzn_RequestId="1"))


def _table(server: ScriptedUpstream) -> DynamoDBTable:
    return DynamoDBTable("pools", client=pool_client(region=REGION, endpoint_url=server.url), clock=SystemClock())


async def _error(table: DynamoDBTable, *, kind: str = "read") -> PoolTableError:
    with pytest.raises(PoolTableError) as caught:
        await ASK[kind](table)
    return caught.value


@pytest.mark.parametrize("kind", ASK)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
        (400, "RequestLimitExceeded"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ],
)
async def test_a_passing_refusal_may_be_asked_again_and_is_not_asked_again_behind_our_back(
    status: int, code: str, kind: str
) -> None:
    async with ScriptedUpstream(_refuses(status, code)) as server:
        error = await _error(_table(server), kind=kind)

        assert error.retryable
        assert error.retry_after_ms
        assert code in error.message
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    ],
)
async def test_a_refusal_for_good_is_not_worth_asking_again(code: str) -> None:
    async with ScriptedUpstream(_refuses(400, code)) as server:
        error = await _error(_table(server), kind="write")

        assert not error.retryable
        assert code in error.message
        assert len(server.requests) == 1


async def test_a_table_that_does_not_exist_is_refused_for_good(moto: Emulated) -> None:
    error = await _error(Emulated("none").table())

    assert moto.endpoint_url is None
    assert not error.retryable
    assert "ResourceNotFoundException" in error.message


async def test_a_silent_table_is_given_up_in_time_while_everything_else_goes_on() -> None:
    """No request blocks the event loop."""
    async with ScriptedUpstream(hangs) as server:
        table = _table(server)
        asking = asyncio.create_task(_error(table, kind="write"))
        turns = 0
        while not asking.done():
            await asyncio.wait({asking}, timeout=0.01)
            turns += 1
        error = asking.result()

        assert turns > 20
        assert error.retryable
        assert len(server.requests) == 1


async def test_a_connection_that_breaks_may_be_asked_again() -> None:
    async with ScriptedUpstream(cuts) as server:
        error = await _error(_table(server), kind="write")

        assert error.retryable
        assert len(server.requests) == 1


async def test_a_table_that_nobody_answers_for_may_be_asked_again() -> None:
    async with ScriptedUpstream(cuts) as server:
        table = _table(server)

    assert (await _error(table)).retryable


async def test_an_error_names_no_account_and_no_key() -> None:
    """I6."""
    async with ScriptedUpstream(_refuses(400, "AccessDeniedException")) as server:
        error = await _error(_table(server))

        assert "arn:" not in str(error)
        assert "test" not in str(error)


async def test_many_requests_go_out_at_once() -> None:
    """A slow one holds up no other."""
    async with ScriptedUpstream(*[hangs] * 5, _refuses(400, "ThrottlingException")) as server:
        table = _table(server)
        slow = [asyncio.create_task(_error(table)) for _ in range(5)]
        while len(server.requests) < 5:
            await server.arrived.wait()
            server.arrived.clear()
        quick = await _error(table)

        assert "ThrottlingException" in quick.message
        assert not any(one.done() for one in slow)
        await asyncio.gather(*slow)
        assert TABLE_REQUESTS_MAX >= 6


async def test_the_tables_clock_is_known_to_the_second_of_its_date_header(ministack: Emulated) -> None:
    clock = StoppedClock()
    table = ministack.table(clock)
    first = (await table.read(NAME)).time
    later = (await table.create(NAME, PoolState())).time

    for known in (first, later):
        date_ms = known.now_lo_ms(clock.at_ms)
        assert date_ms % 1_000 == 0
        assert known.now_hi_ms(clock.at_ms) == date_ms + 1_000
    assert later.lo_ms >= first.lo_ms
