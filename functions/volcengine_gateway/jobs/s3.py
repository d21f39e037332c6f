"""Files in a bucket of S3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError
from volcengine_client.limits import AUDIO_URL_MS, UPLOAD_URL_MS
from volcengine_gateway.jobs.requests import Requests
from volcengine_gateway.jobs.store import CONTENT_TYPES, LINES_TYPE, REPLACED, Stored, UploadAddress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1_024 * 1_024  # bytes a part of a large file; S3 takes 5 MiB or more, and 10,000 parts
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
NO_UPLOAD = "NoSuchUpload"  # it never was, was given up, or is complete


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
                ContentType=_content_type(name),
                Metadata=dict(about or {}),
            )
        )

    async def write(self, name: str, pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        blocks = _blocks(pieces, PART_BYTES)
        first, second = await anext(blocks, b""), await anext(blocks, None)
        if second is None:
            await self.put(name, first, about=about)
            return
        waiting = [second, first]
        del first, second  # no block is in memory for longer than it takes
        upload = _Upload(self._bucket, name, client=self._client, requests=self._requests)
        await upload.begin(about)
        while waiting:
            await upload.add(waiting.pop())
        async for block in blocks:
            await upload.add(block)
        await upload.end()

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


class _Upload:
    """A file of several parts; one that breaks off is cleared by the bucket's rules."""

    def __init__(self, bucket: str, name: str, *, client: S3Client, requests: Requests) -> None:
        self._bucket = bucket
        self._name = name
        self._client = client
        self._requests = requests
        self._upload_id = ""
        self._parts: list[CompletedPartTypeDef] = []
        self._byte_count = 0

    async def begin(self, about: Mapping[str, str]) -> None:
        begun = await self._requests.send(
            partial(
                self._client.create_multipart_upload,
                Bucket=self._bucket,
                Key=self._name,
                ContentType=_content_type(self._name),
                Metadata=dict(about),
            )
        )
        self._upload_id = begun["UploadId"]

    async def add(self, part: bytes) -> None:
        number = len(self._parts) + 1
        added = await self._requests.send(
            partial(
                self._client.upload_part,
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=part,
            )
        )
        self._parts.append({"ETag": added["ETag"], "PartNumber": number})
        self._byte_count += len(part)

    async def end(self) -> None:
        def complete() -> None:
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._name,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": self._parts},
                )
            except ClientError as exc:
                # The reply to the same request may have been lost. A name belongs to one content, so size is enough.
                if exc.response["Error"]["Code"] != NO_UPLOAD or self._stored_bytes() != self._byte_count:
                    raise

        await self._requests.send(complete)

    def _stored_bytes(self) -> int | None:
        try:
            return self._client.head_object(Bucket=self._bucket, Key=self._name)["ContentLength"]
        except ClientError as exc:
            if exc.response["Error"]["Code"] in MISSING:
                return None
            raise


def _content_type(name: str) -> str:
    return CONTENT_TYPES.get(name.rpartition(".")[2], LINES_TYPE)


async def _blocks(pieces: AsyncIterator[bytes], bytes_min: int) -> AsyncIterator[bytes]:
    """Gather pieces into blocks of a size that S3 takes: only the last may be smaller."""
    block = bytearray()
    async for piece in pieces:
        block += piece
        if len(block) >= bytes_min:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def s3_client(config: Config) -> S3Client:
    """Return a client whose signed addresses name the bucket's own region, as the regions opened since 2019 want it."""
    client = boto3.client("s3", config=config.merge(Config(signature_version="s3v4")))
    if not client.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client  # an emulator, which knows no host name a bucket
    return boto3.client("s3", config=config.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"})))
