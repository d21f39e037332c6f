"""Jobs in AWS: files in S3, messages in SQS, items in DynamoDB. The only file of the jobs that knows boto3.

boto3 blocks, so each request has a thread. What is refused for now is asked for again, with waits: a throttled service
makes jobs slower and nothing else. botocore's own way of asking again is off: it has a budget for a process, and once
a service that refuses a share of all requests has used that up, each refusal would be an error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError
from volcengine_client.limits import (
    AUDIO_URL_MS,
    JOBS_LISTED_MAX,
    JOBS_LOOKED_AT_MAX,
    STORE_CONNECT_MS,
    STORE_PATIENCE_MS,
    STORE_READ_MS,
    STORE_REQUESTS_MAX,
    STORE_RETRY_BASE_MS,
    STORE_RETRY_MAX_MS,
    UPLOAD_URL_MS,
)
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.store import (
    AUDIO_TYPES,
    LINES_TYPE,
    REPLACED,
    JobList,
    JobStore,
    Stored,
    Turn,
    UploadAddress,
    Wanted,
    sorted_by,
)
from volcengine_gateway.settings import DAY_MS, JobSettings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

T = TypeVar("T")

BY_ACCOUNT = "by_account"
FIELDS = tuple(field.name for field in fields(Job))
UNCHANGED = "#revision = :before"
MAKES_WAY = (
    "attribute_not_exists(job_id) OR until_ms < :now "
    "OR (is_over = :true AND digest = :digest AND (attribute_not_exists(leads_to) OR leads_to = :past))"
)
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
PASSING = frozenset(
    {
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)  # refusals that say nothing against the request, beside those with a status of 429 and 5xx


class Requests:
    """The threads in which blocking requests run, and the patience to send them again.

    Args:
        clock: To wait by.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(STORE_REQUESTS_MAX, thread_name_prefix="jobs")

    async def send(self, request: Callable[[], T]) -> T:
        """Send a request, and again while what keeps it from being answered may pass.

        Raises:
            StoreError: No answer in time, or a refusal; a write may have happened.
        """
        last_at_ms = self._clock.monotonic_ms() + STORE_PATIENCE_MS
        bound_ms = STORE_RETRY_BASE_MS
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, request)
            except ClientError as exc:
                wait_ms = random.randint(1, bound_ms)
                if not _may_pass(exc) or self._clock.monotonic_ms() + wait_ms > last_at_ms:
                    code = exc.response["Error"]["Code"]
                    raise StoreError(f"what jobs are kept in refused: {code}; ask again later") from exc
            except BotoCoreError as exc:
                wait_ms = random.randint(1, bound_ms)
                if self._clock.monotonic_ms() + wait_ms > last_at_ms:
                    raise StoreError("what jobs are kept in gave no answer in time; ask again later") from exc
            await self._clock.sleep(wait_ms)
            bound_ms = min(STORE_RETRY_MAX_MS, 2 * bound_ms)


def _may_pass(refusal: ClientError) -> bool:
    """Tell whether the same request may be carried out a moment later."""
    status = refusal.response["ResponseMetadata"]["HTTPStatusCode"]
    return status == 429 or status >= 500 or refusal.response["Error"]["Code"] in PASSING


class S3Files:
    """Files in a bucket.

    Args:
        bucket: Its name.
        client: Of S3.
        requests: The threads.
        clock: To know how old files are.
        found_max_ms: Older files may be gone before a job that finds them now.
    """

    def __init__(self, bucket: str, *, client: S3Client, requests: Requests, clock: Clock, found_max_ms: int) -> None:
        self._bucket = bucket
        self._client = client
        self._requests = requests
        self._clock = clock
        self._found_max_ms = found_max_ms

    async def put(self, name: str, content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        await self._requests.send(
            partial(
                self._client.put_object,
                Bucket=self._bucket,
                Key=name,
                Body=content,
                ContentType=AUDIO_TYPES.get(name.rpartition(".")[2], LINES_TYPE),
                Metadata=dict(about or {}),
            )
        )

    async def get(self, name: str) -> bytes | None:
        def get() -> bytes | None:
            try:
                return self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
            except ClientError as exc:
                if exc.response["Error"]["Code"] in MISSING:
                    return None
                raise

        return await self._requests.send(get)

    async def about(self, name: str) -> Mapping[str, str] | None:
        def head() -> Mapping[str, str] | None:
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as exc:
                if exc.response["Error"]["Code"] in MISSING:
                    return None
                raise
            age_ms = self._clock.wall_ms() - int(answer["LastModified"].timestamp() * 1_000)
            return answer["Metadata"] if age_ms <= self._found_max_ms else None

        return await self._requests.send(head)

    async def stored(self, name: str) -> Stored | None:
        def head() -> Stored | None:
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as exc:
                if exc.response["Error"]["Code"] in MISSING:
                    return None
                raise
            return Stored(answer["ContentLength"], answer["ETag"])

        return await self._requests.send(head)

    async def part(self, name: str, *, of: Stored, first: int, count: int) -> bytes:
        def get() -> bytes | None:
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=name, Range=f"bytes={first}-{first + count - 1}", IfMatch=of.version
                )
            except ClientError as exc:
                if exc.response["Error"]["Code"] in {*MISSING, "PreconditionFailed", "412"}:
                    return None
                raise
            return answer["Body"].read()

        content = await self._requests.send(get)
        if content is None or len(content) != count:
            raise StoreError(REPLACED)
        return content

    def upload_address(self, name: str, *, byte_count: int | None) -> UploadAddress:
        """Return an address whose signature covers the kind of the file, and its size where that is known."""
        signed: dict[str, Any] = {"Bucket": self._bucket, "Key": name, "ContentType": LINES_TYPE}
        if byte_count is not None:
            signed["ContentLength"] = byte_count
        expires_at_ms = self._clock.wall_ms() + UPLOAD_URL_MS
        url = self._client.generate_presigned_url("put_object", Params=signed, ExpiresIn=UPLOAD_URL_MS // 1_000)
        return UploadAddress(url, {"Content-Type": LINES_TYPE}, expires_at_ms)

    def url(self, name: str) -> str:
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": name}, ExpiresIn=AUDIO_URL_MS // 1_000
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


def _s3_client(config: Config) -> S3Client:
    """Return a client whose signed addresses name the bucket's own region, as the regions opened since 2019 want it."""
    client = boto3.client("s3", config=config.merge(Config(signature_version="s3v4")))
    if not client.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client  # an emulator, which knows no host name a bucket
    return boto3.client("s3", config=config.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"})))


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
            client=_s3_client(config),
            requests=requests,
            clock=clock,
            found_max_ms=(settings.speech_kept_days - settings.jobs_kept_days) * DAY_MS,
        ),
        queue=SQSQueue(settings.queue_url, client=queues, requests=requests),
        dead_letters=None if dead_letters is None else SQSQueue(dead_letters, client=queues, requests=requests),
    )
