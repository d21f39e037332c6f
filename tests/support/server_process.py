"""The self-hosted server as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

APP_ID = "1000000001"
ACCESS_KEY = "canary-access-key"
ADMIN_KEY = "canary-admin-key"
CONCURRENCY = 2


class Somewhere(Protocol):
    """What has an address."""

    @property
    def url(self) -> str: ...


@dataclass
class Process:
    """The server as a process of its own."""

    url: str
    process: asyncio.subprocess.Process
    log: list[str]
    reading: asyncio.Task[None]
    stopping: asyncio.Event

    async def stopped_by(self, signal_number: int) -> int:
        """End it, and wait until it has ended."""
        self.process.send_signal(signal_number)
        return await self.stopped()

    async def stopped(self) -> int:
        """Wait until it has ended."""
        status = await self.process.wait()
        await self.reading
        return status


@asynccontextmanager
async def running(folder: Path, upstream: Somewhere, **settings: str) -> AsyncIterator[Process]:
    """Run the server on a free port, with its account in `.env`, and other settings."""
    (folder / ".env").write_text(
        f"VOLCENGINE_TTS_APPID={APP_ID}\nVOLCENGINE_TTS_ACCESS_KEY={ACCESS_KEY}\n"
        f"VOLCENGINE_TTS_CONCURRENCY={CONCURRENCY}\nADMIN_API_KEY={ADMIN_KEY}\nVOLCENGINE_TTS_ENDPOINT={upstream.url}\n"
        + "".join(f"{name}={value}\n" for name, value in settings.items())
    )
    program = "import sys; from volcengine_gateway.server import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "--port", "0", "--log-level", "debug",
        cwd=folder, env={"PATH": os.environ["PATH"]}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    log: list[str] = []
    stopping = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            log.append(line.decode())
            if "Shutting down" in log[-1]:
                stopping.set()
            found = re.search(r"Listening on (\S+)", log[-1])
            if found and not listening.done():
                listening.set_result(found[1])
        if not listening.done():
            listening.set_exception(AssertionError(f"it did not start: {log}"))

    reading = asyncio.create_task(read(process.stderr))
    try:
        yield Process(await listening, process, log, reading, stopping)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
