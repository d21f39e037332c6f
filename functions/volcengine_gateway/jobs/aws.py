"""Jobs in AWS: messages in SQS, items in DynamoDB, and what they are made of together with the files in S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError

from volcengine_client.clock import Clock
from volcengine_client.limits import (
    JOBS_LISTED_MAX,
    JOBS_LOOKED_AT_MAX,
    STORE_CONNECT_MS,
    STORE_READ_MS,
    STORE_REQUESTS_MAX,
)
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.requests import Requests
from volcengine_gateway.jobs.s3 import S3Files, s3_client
from volcengine_gateway.jobs.store import (
    JobList,
    JobStore,
    Turn,
    Wanted,
    sorted_by,
)
from volcengine_gateway.settings import DAY_MS, JobSettings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

T = TypeVar("T")

BY_ACCOUNT = "by_account"
FIELDS = tuple(field.name for field in fields(Job))
UNCHANGED = "#revision = :before"
MAKES_WAY = (
    "attribute_not_exists(job_id) OR until_ms < :now "
    "OR (is_over = :true AND digest = :digest AND (attribute_not_exists(leads_to) OR leads_to = :past))"
)


class SQSQueue:
    """Messages in a queue."""

    def __init__(self, url: str, *, client: SQSClient, requests: Requests) -> None:
        self._url = url
        self._client = client
        self._requests = requests

    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        await self._requests.send(
            partial(
                self._client.send_message, QueueUrl=self._url, MessageBody=message, DelaySeconds=-(-delay_ms // 1_000)
            )
        )


class DynamoDBJobTable:
    """Jobs in a DynamoDB table with the partition key `job_id` and the index `by_account`."""

    def __init__(self, table_name: str, *, client: DynamoDBClient, requests: Requests) -> None:
        self._table_name = table_name
        self._client = client
        self._requests = requests

    async def add(self, job: Job) -> None:
        await self._requests.send(partial(self._client.put_item, TableName=self._table_name, Item=_item_of(job)))

    async def add_once(self, job: Job) -> bool:
        return await self._put_if(job, ConditionExpression="attribute_not_exists(job_id)")

    async def get(self, job_id: str) -> Job | None:
        answer = await self._requests.send(
            partial(
                self._client.get_item, TableName=self._table_name, Key={"job_id": {"S": job_id}}, ConsistentRead=True
            )
        )
        return _job_of(answer["Item"]) if "Item" in answer else None

    async def write(self, job: Job) -> bool:
        return await self._put_if(
            job,
            ConditionExpression=UNCHANGED,
            ExpressionAttributeNames={"#revision": "revision"},
            ExpressionAttributeValues={":before": {"N": str(job.revision - 1)}},
        )

    async def _put_if(self, job: Job, **condition: Any) -> bool:
        def put() -> bool:
            try:
                self._client.put_item(TableName=self._table_name, Item=_item_of(job), **condition)
            except ClientError as exc:
                if exc.response["Error"]["Code"] == "ConditionalCheckFailedException":
                    return False
                raise
            return True

        return await self._requests.send(put)

    async def of_account(self, account: str, wanted: Wanted, *, after: str | None) -> JobList:
        asked = _query_of(account, wanted, after)

        def query() -> JobList:
            answer = self._client.query(TableName=self._table_name, IndexName=BY_ACCOUNT, **asked)
            looked_at_up_to = answer["LastEvaluatedKey"]["sorted_by"]["S"] if "LastEvaluatedKey" in answer else None
            return JobList.of([_job_of(item) for item in answer["Items"]], looked_at_up_to=looked_at_up_to)

        return await self._requests.send(query)


def _query_of(account: str, wanted: Wanted, after: str | None) -> dict[str, Any]:
    """Return one query of the index, which looks at a bounded number of items, youngest first."""
    values: dict[str, Any] = {":account": {"S": account}}
    condition = "account = :account"
    if after is not None:
        condition += " AND sorted_by < :after"
        values[":after"] = {"S": after}
    query = {
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": values,
        "ScanIndexForward": False,
        "Limit": JOBS_LISTED_MAX + 1 if wanted.is_all else JOBS_LOOKED_AT_MAX,
    }
    filters = {name: value for name, value in asdict(wanted).items() if value is not None}
    if filters:
        values |= {f":{name}": {"S": value} for name, value in filters.items()}
        query["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
        query["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
    return query


class DynamoDBTurns:
    """Turns, in the table of the jobs: their names are no job's."""

    def __init__(self, table_name: str, *, client: DynamoDBClient, requests: Requests) -> None:
        self._table_name = table_name
        self._client = client
        self._requests = requests

    async def begin(self, name: str, turn: Turn, *, now_ms: int, past: str | None = None) -> Turn | None:
        def put() -> Turn | None:
            try:
                self._client.put_item(
                    TableName=self._table_name,
                    Item=_item_of_turn(name, turn),
                    ConditionExpression=MAKES_WAY,
                    ExpressionAttributeValues={
                        ":now": {"N": str(now_ms)},
                        ":digest": {"S": turn.digest},
                        ":true": {"BOOL": True},
                        ":past": {"S": past or ""},
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as exc:
                if exc.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                return _turn_of(exc.response["Item"])  # type: ignore[typeddict-item]  # of this error only
            return None

        return await self._requests.send(put)

    async def end(self, name: str, turn: Turn) -> None:
        await self._requests.send(
            partial(self._client.put_item, TableName=self._table_name, Item=_item_of_turn(name, turn))
        )


def _item_of_turn(name: str, turn: Turn) -> dict[str, Any]:
    told = {**asdict(turn), "job_id": f"turn:{name}", "leads_to": turn.job_id, "expires_at": turn.until_ms // 1_000 + 1}
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in told.items() if value is not None}


def _turn_of(item: Mapping[str, Any]) -> Turn:
    told = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    return Turn(told["digest"], int(told["until_ms"]), told["is_over"], told.get("leads_to"), told.get("token", ""))


def _item_of(job: Job) -> dict[str, Any]:
    told = {name: getattr(job, name) for name in FIELDS}
    told |= {"state": job.state, "sorted_by": sorted_by(job), "expires_at": job.kept_until_s}
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in told.items() if value is not None}


def _job_of(item: Mapping[str, Any]) -> Job:
    deserialize = TypeDeserializer().deserialize
    told: dict[str, Any] = {name: deserialize(item[name]) for name in FIELDS if name in item}
    told = {name: int(value) if isinstance(value, Decimal) else value for name, value in told.items()}
    return Job(**told)


def store_of(settings: JobSettings, *, clock: Clock) -> JobStore:
    """Return where a stage's jobs are."""
    config = Config(
        connect_timeout=STORE_CONNECT_MS / 1_000,
        read_timeout=STORE_READ_MS / 1_000,
        retries={"total_max_attempts": 1},
        max_pool_connections=STORE_REQUESTS_MAX,
        tcp_keepalive=True,
    )
    requests, table = Requests(clock=clock), boto3.client("dynamodb", config=config)
    queues, dead_letters = boto3.client("sqs", config=config), settings.dead_letters_url
    return JobStore(
        table=DynamoDBJobTable(settings.table, client=table, requests=requests),
        turns=DynamoDBTurns(settings.table, client=table, requests=requests),
        files=S3Files(
            settings.bucket,
            client=s3_client(config),
            requests=requests,
            clock=clock,
            found_max_ms=(settings.speech_kept_days - settings.jobs_kept_days) * DAY_MS,
        ),
        queue=SQSQueue(settings.queue_url, client=queues, requests=requests),
        dead_letters=None if dead_letters is None else SQSQueue(dead_letters, client=queues, requests=requests),
    )
