"""Jobs on one machine: items in SQLite, files in a private folder, messages in this process."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from volcengine_client.clock import Clock
from volcengine_client.errors import InvalidRequestError, StoreError
from volcengine_client.limits import (
    AUDIO_URL_MS,
    JOBS_LISTED_MAX,
    JOBS_LOOKED_AT_MAX,
    STORE_REQUESTS_MAX,
    UPLOAD_URL_MS,
)
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.store import (
    LINES_TYPE,
    REPLACED,
    JobList,
    Stored,
    Turn,
    UploadAddress,
    Wanted,
    sorted_by,
)

T = TypeVar("T")

KEY_BYTES = 32
ABOUT = ".about"  # the ending of the file that says what another is
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    account TEXT NOT NULL,
    app TEXT NOT NULL,
    sorted_by TEXT NOT NULL,
    kept_until_s INTEGER NOT NULL,
    is_over INTEGER NOT NULL,
    item TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS turns (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    is_over INTEGER NOT NULL,
    leads_to TEXT
);
CREATE INDEX IF NOT EXISTS by_account ON jobs (account, sorted_by);
"""
ADD = "INSERT INTO jobs VALUES (:job_id, :revision, :account, :app, :sorted_by, :kept_until_s, :is_over, :item)"
ADD_ONCE = ADD.replace("INSERT", "INSERT OR IGNORE", 1)
GET = "SELECT item FROM jobs WHERE job_id = ?"
WRITE = (
    "UPDATE jobs SET revision = :revision, is_over = :is_over, item = :item "
    "WHERE job_id = :job_id AND revision = :revision - 1"
)
LIST = (
    "SELECT item FROM jobs WHERE account = :account AND (:app IS NULL OR app = :app) "
    "AND (:after IS NULL OR sorted_by < :after) ORDER BY sorted_by DESC LIMIT :limit"
)
OPEN = "SELECT job_id FROM jobs WHERE NOT is_over ORDER BY sorted_by"
FORGET = "DELETE FROM jobs WHERE kept_until_s < ?"
FORGET_TURNS = "DELETE FROM turns WHERE until_ms < ?"
TURN = "SELECT digest, until_ms, is_over, leads_to FROM turns WHERE name = ?"
PUT_TURN = "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?)"


class SQLiteJobTable:
    """Jobs in a SQLite database.

    Args:
        path: Of its file, which is made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job-table")
        self._known: sqlite3.Connection | None = None

    async def add(self, job: Job) -> None:
        await self._send(lambda table: table.execute(ADD, _row(job)))

    async def add_once(self, job: Job) -> bool:
        return await self._send(lambda table: table.execute(ADD_ONCE, _row(job)).rowcount == 1)

    async def get(self, job_id: str) -> Job | None:
        found = await self._send(lambda table: table.execute(GET, (job_id,)).fetchone())
        return None if found is None else _job(found)

    async def write(self, job: Job) -> bool:
        return await self._send(lambda table: table.execute(WRITE, _row(job)).rowcount == 1)

    async def of_account(self, account: str, wanted: Wanted, *, after: str | None) -> JobList:
        most = JOBS_LISTED_MAX + 1 if wanted.state is None else JOBS_LOOKED_AT_MAX
        asked = {"account": account, "app": wanted.app, "after": after, "limit": most}

        def look(table: sqlite3.Connection) -> JobList:
            jobs = [_job(row) for row in table.execute(LIST, asked)]
            looked_at_up_to = sorted_by(jobs[-1]) if len(jobs) == most else None
            return JobList.of([job for job in jobs if wanted.includes(job)], looked_at_up_to=looked_at_up_to)

        return await self._send(look)

    async def open_jobs(self) -> list[str]:
        """Return the jobs that are not over, or of whose end somebody is to be told, the oldest first."""
        return [row[0] for row in await self._send(lambda table: table.execute(OPEN).fetchall())]

    async def forget(self, *, now_s: int) -> None:
        """Forget the jobs and turns whose time is over."""
        await self._send(lambda table: table.execute(FORGET, (now_s,)))
        await self._send(lambda table: table.execute(FORGET_TURNS, (now_s * 1_000,)))

    async def forget_open_turns(self) -> None:
        """Forget the turns of a server that is gone: nobody will end them."""
        await self._send(lambda table: table.execute("DELETE FROM turns WHERE NOT is_over"))

    async def begin(self, name: str, turn: Turn, *, now_ms: int, past: str | None = None) -> Turn | None:
        """Begin a turn, as `Turns` says."""

        def begin(table: sqlite3.Connection) -> Turn | None:
            row = table.execute(TURN, (name,)).fetchone()
            known = None if row is None else Turn(row[0], row[1], bool(row[2]), row[3])
            if known is not None and not known.makes_way(turn.digest, now_ms=now_ms, past=past):
                return known
            table.execute(PUT_TURN, _turn_row(name, turn))
            return None

        return await self._send(begin)

    async def end(self, name: str, turn: Turn) -> None:
        """Put down how a turn ended, as `Turns` says."""
        await self._send(lambda table: table.execute(PUT_TURN, _turn_row(name, turn)))

    async def _send(self, request: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with self._open() as table:
                return request(table)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except sqlite3.Error as exc:
            raise StoreError("the jobs' database can't be read or written; see the server's disk") from exc

    def _open(self) -> sqlite3.Connection:
        if self._known is None:
            self._known = sqlite3.connect(self._path, check_same_thread=False)
            self._known.execute("PRAGMA journal_mode = WAL")
            self._known.executescript(SCHEMA)
        return self._known


def _turn_row(name: str, turn: Turn) -> tuple[object, ...]:
    return (name, turn.digest, turn.until_ms, turn.is_over, turn.job_id)


def _row(job: Job) -> dict[str, object]:
    return {
        "job_id": job.job_id,
        "revision": job.revision,
        "account": job.account,
        "app": job.app,
        "sorted_by": sorted_by(job),
        "kept_until_s": job.kept_until_s,
        "is_over": job.is_over and not job.is_to_be_told,
        "item": json.dumps(asdict(job)),
    }


def _job(row: tuple[str]) -> Job:
    return Job(**json.loads(row[0]))


class FolderFiles:
    """Files in a folder that nobody else may look into.

    Args:
        folder: Made, for this user only, when it is missing.
        clock: To know how old files are.
        found_max_ms: Older files may be gone before a job that finds them now.
    """

    def __init__(self, folder: Path, *, clock: Clock, found_max_ms: int) -> None:
        self._folder = folder
        self._clock = clock
        self._found_max_ms = found_max_ms
        self._threads = ThreadPoolExecutor(STORE_REQUESTS_MAX, thread_name_prefix="job-files")
        self._key = secrets.token_bytes(KEY_BYTES)

    def sign_with(self, key: bytes) -> None:
        """Sign addresses with a key that outlives this process, so that they do, too."""
        self._key = key

    async def put(self, name: str, content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        def put() -> None:
            path = self._folder / name
            _make_private(self._folder, path.parent)
            if about:  # first, since the file itself is what counts
                _put_whole(path.with_name(path.name + ABOUT), json.dumps(dict(about)).encode())
            _put_whole(path, content)

        await self._send(put)

    async def write(self, name: str, pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        told = self._folder / (name + ABOUT)
        await self._send(lambda: _make_private(self._folder, told.parent))
        await self._send(lambda: _put_whole(told, json.dumps(dict(about)).encode()))
        await self.take(name, pieces, byte_count=None)

    async def get(self, name: str) -> bytes | None:
        def get() -> bytes | None:
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

        return await self._send(get)

    async def about(self, name: str) -> Mapping[str, str] | None:
        def about() -> Mapping[str, str] | None:
            path = self._folder / name
            try:
                age_ms = self._clock.wall_ms() - path.stat().st_mtime_ns // 1_000_000
                told: dict[str, str] = json.loads(path.with_name(path.name + ABOUT).read_bytes())
            except FileNotFoundError:
                return None
            return told if age_ms <= self._found_max_ms else None

        return await self._send(about)

    async def stored(self, name: str) -> Stored | None:
        def stored() -> Stored | None:
            try:
                return _stored((self._folder / name).stat())
            except FileNotFoundError:
                return None

        return await self._send(stored)

    async def part(self, name: str, *, of: Stored, first: int, count: int) -> bytes:
        def part() -> bytes | None:
            try:
                with (self._folder / name).open("rb") as file:
                    if _stored(os.fstat(file.fileno())) != of:
                        return None
                    file.seek(first)
                    return file.read(count)
            except FileNotFoundError:
                return None

        content = await self._send(part)
        if content is None or len(content) != count:
            raise StoreError(REPLACED)
        return content

    async def take(self, name: str, pieces: AsyncIterable[bytes], *, byte_count: int | None) -> None:
        """Keep a file that comes in pieces, in the place of one of this name; whole or not at all.

        Raises:
            InvalidRequestError: It has another size than *byte_count*.
            StoreError: It can't be written.
        """
        path = self._folder / name
        await self._send(lambda: _make_private(self._folder, path.parent))
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            file = await self._send(lambda: part.open("xb"))
            try:
                async for piece in pieces:
                    await self._send(partial(file.write, piece))
            finally:
                await asyncio.shield(self._send(file.close))
            if byte_count is not None and await self._send(lambda: part.stat().st_size) != byte_count:
                raise InvalidRequestError(
                    f"The list should have the {byte_count:,} bytes that its address was asked for"
                )
            await self._send(lambda: _put_in_place(part, path))
        finally:
            await asyncio.shield(self._send(lambda: part.unlink(missing_ok=True)))

    def upload_address(self, name: str, *, byte_count: int | None) -> UploadAddress:
        until_ms = self._clock.wall_ms() + UPLOAD_URL_MS
        until, size = str(until_ms // 1_000), "" if byte_count is None else str(byte_count)
        url = f"/uploads/{name}?until={until}&bytes={size}&signature={self._upload_signature(name, until, size)}"
        return UploadAddress(url, {"Content-Type": LINES_TYPE}, until_ms // 1_000 * 1_000)

    def is_signed_for_upload(self, name: str, *, until: str, size: str, signature: str) -> bool:
        """Tell whether an address is one that `upload_address` gave out, and still good."""
        is_ours = hmac.compare_digest(self._upload_signature(name, until, size).encode(), signature.encode())
        return is_ours and self._clock.wall_ms() < int(until) * 1_000

    def _upload_signature(self, name: str, until: str, size: str) -> str:
        return hmac.new(self._key, json.dumps(["PUT", name, until, size]).encode(), sha256).hexdigest()

    def url(self, name: str) -> str:
        until_s = (self._clock.wall_ms() + AUDIO_URL_MS) // 1_000
        return f"/audio/{name}?until={until_s}&signature={self._signature(name, until_s)}"

    def is_signed(self, name: str, *, until: str, signature: str) -> bool:
        """Tell whether an address is one that `url` gave out, and still good."""
        if not until.isdecimal() or len(until) > 12:
            return False
        is_ours = hmac.compare_digest(self._signature(name, int(until)).encode(), signature.encode())
        return is_ours and self._clock.wall_ms() < int(until) * 1_000

    def _signature(self, name: str, until_s: int) -> str:
        return hmac.new(self._key, f"{until_s} {name}".encode(), sha256).hexdigest()

    async def _send(self, request: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except OSError as exc:
            raise StoreError("the jobs' folder can't be read or written; see the server's disk") from exc


def _stored(found: os.stat_result) -> Stored:
    return Stored(found.st_size, f"{found.st_ino}-{found.st_mtime_ns}")


def _make_private(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _put_in_place(part: Path, path: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def kept_key(path: Path) -> bytes:
    """Return the key in a file that only this user may read; it is made when it is missing.

    Raises:
        OSError: It can't be read or made.
    """
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
    key = secrets.token_bytes(KEY_BYTES)
    _put_whole(path, key)
    return key


def _put_whole(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
