"""Pools in a DynamoDB table; the only file that knows boto3's DynamoDB.

One item a pool, and one request a write: conditions on the touched entries, `ALL_NEW` when it was applied and
`ALL_OLD` when it was not, so that every write is also a read. boto3 blocks, so each request has a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from volcengine_client.clock import Clock, TableTime
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import POOL_NAMES_MAX, READ_NEXT_IN_LINE_MS, TABLE_REQUESTS_MAX, TABLE_TIMEOUT_MS
from volcengine_client.pool.slots import Cap, Change, Entry, Limit, PoolState, Slot
from volcengine_client.pool.table import Reply

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Value = Mapping[str, Any]  # DynamoDB's typed JSON

NAMES = {
    "#pool": "pool",
    "#rev": "rev",
    "#slots": "slots",
    "#queue": "queue",
    "#limit": "limit",
    "#cap": "cap",
    "#expires_at": "expires_at",
}
FOR_GOOD = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)  # asking again changes nothing


def pool_client(*, region: str | None = None, endpoint_url: str | None = None) -> DynamoDBClient:
    """Return a DynamoDB client fit for a pool: short time-outs, and no retries behind our back."""
    timeout_s = TABLE_TIMEOUT_MS / 1_000
    config = Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=TABLE_REQUESTS_MAX,
        tcp_keepalive=True,
    )
    return boto3.client("dynamodb", region_name=region, endpoint_url=endpoint_url, config=config)


class DynamoDBTable:
    """A table with the partition key `pool`.

    Args:
        table_name: Name or ARN.
        client: As made by `pool_client`.
        clock: To bound the table's clock by each reply.
    """

    pace_ms = READ_NEXT_IN_LINE_MS

    def __init__(self, table_name: str, *, client: DynamoDBClient, clock: Clock) -> None:
        self._table_name = table_name
        self._client = client
        self._clock = clock
        self._threads = ThreadPoolExecutor(TABLE_REQUESTS_MAX, thread_name_prefix="pool-table")

    async def read(self, pool: str) -> Reply:
        return await self._ask(
            lambda: self._client.get_item(TableName=self._table_name, Key={"pool": {"S": pool}}, ConsistentRead=True),
            is_write=False,
        )

    async def create(self, pool: str, state: PoolState) -> Reply:
        item = {"pool": {"S": pool}, **_item_of(state), "rev": {"N": "1"}}
        reply = await self._ask(
            lambda: self._client.put_item(
                TableName=self._table_name,
                Item=item,
                ConditionExpression="attribute_not_exists(#pool)",
                ExpressionAttributeNames={"#pool": "pool"},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            ),
            is_write=True,
        )
        return Reply(_state_of(item), reply.time, is_applied=True) if reply.is_applied else reply

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        request = _Update(before, after).request()
        return await self._ask(
            lambda: self._client.update_item(
                TableName=self._table_name,
                Key={"pool": {"S": pool}},
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **request,
            ),
            is_write=True,
        )

    async def names(self) -> list[str]:
        def scan() -> Mapping[str, Any]:
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table_name,
                ProjectionExpression="#pool",
                ExpressionAttributeNames={"#pool": "pool"},
                PaginationConfig={"MaxItems": POOL_NAMES_MAX},
            )
            return {"names": sorted(item["pool"]["S"] for page in pages for item in page["Items"])}

        names: list[str] = (await self._send(scan))["names"]
        return names

    async def _ask(self, request: Callable[[], Mapping[str, Any]], *, is_write: bool) -> Reply:
        """Send one request in a thread of its own, and bound the table's clock by its reply."""

        def timed() -> tuple[Mapping[str, Any], int, int, bool]:
            sent_at_ms = self._clock.monotonic_ms()
            try:
                answer, is_applied = request(), is_write
            except ClientError as exc:
                if exc.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                answer, is_applied = exc.response, False
            return answer, sent_at_ms, self._clock.monotonic_ms(), is_applied

        answer, sent_at_ms, received_at_ms, is_applied = await self._send(timed)
        date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        time = TableTime.sample(
            date_ms=round(date.timestamp() * 1_000),
            resolution_ms=1_000,
            sent_at_ms=sent_at_ms,
            received_at_ms=received_at_ms,
        )
        item = answer.get("Item") or answer.get("Attributes")
        return Reply(_state_of(item) if item else None, time, is_applied)

    async def _send(self, request: Callable[[], Any]) -> Any:
        try:
            async with asyncio.timeout(2 * TABLE_TIMEOUT_MS / 1_000):
                return await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except ClientError as exc:
            code = exc.response["Error"]["Code"]
            raise PoolTableError(
                f"the pool's table refused: {code}", retryable=code not in FOR_GOOD, retry_after_ms=TABLE_TIMEOUT_MS
            ) from exc
        except (BotoCoreError, TimeoutError) as exc:
            raise PoolTableError(
                "the pool's table gave no answer in time; ask again later", retry_after_ms=TABLE_TIMEOUT_MS
            ) from exc


class _Update:
    """One UpdateItem: only entries that differ are compared and written."""

    def __init__(self, before: PoolState, after: PoolState) -> None:
        self._names = {name: NAMES[name] for name in ("#pool", "#rev")}
        self._values: dict[str, Value] = {":one": {"N": "1"}}
        self._sets: list[str] = []
        self._removes: list[str] = []
        self._conditions = ["attribute_exists(#pool)"]
        change = Change.between(before, after)
        for number, (old, new) in sorted(change.slots.items()):
            self._touch(self._path("#slots", str(number)), _slot_value(old), _slot_value(new))
        for holder_id, (seen, own) in sorted(change.queue.items()):
            path = self._path("#queue", holder_id)
            if seen is None:
                self._unchanged(path, None)
            else:
                self._unchanged(f"{path}.#r", _number(seen.revision))
                self._names["#r"] = "r"
            self._set(path, _entry_value(own))
        if change.limit:
            self._touch(self._path("#limit"), *map(_limit_value, change.limit))
        elif change.takes:
            self._unchanged(self._path("#limit"), _limit_value(before.limit))
        if change.cap:
            self._touch(self._path("#cap"), *map(_cap_value, change.cap))
        elif change.takes:
            self._unchanged(self._path("#cap"), _cap_value(before.cap))
        if after.kept_until_s is not None:
            self._sets.append(f"{self._path('#expires_at')} = {self._value({'N': str(after.kept_until_s)})}")
        elif before.kept_until_s is not None:
            self._removes.append(self._path("#expires_at"))

    def request(self) -> dict[str, Any]:
        parts = ["ADD #rev :one"]
        if self._sets:
            parts.append("SET " + ", ".join(self._sets))
        if self._removes:
            parts.append("REMOVE " + ", ".join(self._removes))
        return {
            "UpdateExpression": " ".join(parts),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": self._values,
        }

    def _touch(self, path: str, old: Value | None, new: Value | None) -> None:
        self._unchanged(path, old)
        self._set(path, new)

    def _set(self, path: str, new: Value | None) -> None:
        if new is None:
            self._removes.append(path)
        else:
            self._sets.append(f"{path} = {self._value(new)}")

    def _unchanged(self, path: str, old: Value | None) -> None:
        """The entry is still exactly as it was seen."""
        condition = f"attribute_not_exists({path})" if old is None else f"{path} = {self._value(old)}"
        self._conditions.append(condition)

    def _path(self, attribute: str, key: str | None = None) -> str:
        self._names[attribute] = NAMES[attribute]
        if key is None:
            return attribute
        name = f"#k{len(self._names)}"
        self._names[name] = key
        return f"{attribute}.{name}"

    def _value(self, value: Value) -> str:
        name = f":v{len(self._values)}"
        self._values[name] = value
        return name


def _number(value: int) -> Value:
    return {"N": str(value)}


def _slot_value(slot: Slot | None) -> Value | None:
    return None if slot is None else {"M": {"h": {"S": slot.holder_id}, "x": _number(slot.expires_at_ms)}}


def _entry_value(entry: Entry | None) -> Value | None:
    if entry is None:
        return None
    fields = {
        "r": _number(entry.revision),
        "a": {"S": entry.app},
        "g": _number(entry.weight),
        "w": _number(entry.want),
        "l": _number(entry.limit),
        "s": _number(entry.since_ms),
        "x": _number(entry.expires_at_ms),
    }
    marks = {"b": int(entry.is_background), "n": int(entry.is_new), "t": entry.left_count, "c": entry.call_ms}
    fields |= {name: _number(value) for name, value in marks.items() if value}
    return {"M": fields}


def _limit_value(limit: Limit | None) -> Value | None:
    return None if limit is None else {"M": {"n": _number(limit.n), "version": _number(limit.version)}}


def _cap_value(cap: Cap | None) -> Value | None:
    return None if cap is None else {"M": {"n": _number(cap.n), "until_ms": _number(cap.until_ms)}}


def _item_of(state: PoolState) -> dict[str, Value]:
    parts: dict[str, Value | None] = {
        "rev": _number(state.rev),
        "slots": {"M": {str(number): _slot_value(slot) for number, slot in state.slots.items()}},
        "queue": {"M": {holder_id: _entry_value(entry) for holder_id, entry in state.queue.items()}},
        "limit": _limit_value(state.limit),
        "cap": _cap_value(state.cap),
        "expires_at": None if state.kept_until_s is None else _number(state.kept_until_s),
    }
    return {name: value for name, value in parts.items() if value is not None}


def _state_of(item: Mapping[str, Any]) -> PoolState:
    limit, cap, kept = item.get("limit"), item.get("cap"), item.get("expires_at")
    return PoolState(
        rev=int(item["rev"]["N"]),
        slots={int(number): _slot_of(value["M"]) for number, value in item["slots"]["M"].items()},
        queue={holder_id: _entry_of(value["M"]) for holder_id, value in item["queue"]["M"].items()},
        limit=None if limit is None else Limit(int(limit["M"]["n"]["N"]), int(limit["M"]["version"]["N"])),
        cap=None if cap is None else Cap(int(cap["M"]["n"]["N"]), int(cap["M"]["until_ms"]["N"])),
        kept_until_s=None if kept is None else int(kept["N"]),
    )


def _slot_of(value: Mapping[str, Any]) -> Slot:
    return Slot(value["h"]["S"], int(value["x"]["N"]))


def _entry_of(value: Mapping[str, Any]) -> Entry:
    return Entry(
        revision=int(value["r"]["N"]),
        app=value["a"]["S"],
        weight=int(value["g"]["N"]),
        want=int(value["w"]["N"]),
        limit=int(value["l"]["N"]),
        since_ms=int(value["s"]["N"]),
        expires_at_ms=int(value["x"]["N"]),
        is_background="b" in value,
        is_new="n" in value,
        left_count=int(value["t"]["N"]) if "t" in value else 0,
        call_ms=int(value["c"]["N"]) if "c" in value else 0,
    )
