"""Lambda's Runtime Interface Emulator around the function, laid out in folders as Lambda lays it out."""

from __future__ import annotations

import asyncio
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psutil

from infra.local.places import LOOPBACK, ROOT, free_port
from infra.local.processes import Daemon, stop
from infra.local.waiting import last_lines, until
from volcengine_client.clock import SystemClock

HANDLER = "api.handler.lambda_handler"
MACHINE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
EMULATOR = ROOT / f".local/sam/emulator/samcli/local/rapid/aws-lambda-rie-{MACHINE}"
# What Lambda's own runtime for Python brings, and all that it needs.
RUNTIME = (
    *("awslambdaric", "simplejson", "snapshot-restore-py"),
    *("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"),
)
NOT_DEPLOYED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "CHANGELOG.md", "worker")
READY_MAX_MS = 10_000
PATIENCE_S = 45  # for an answer; more than any function may take

Json = Any


@dataclass(frozen=True)
class Layout:
    """The folders that Lambda would have: the function's code, its layers, the runtime."""

    directory: Path

    @property
    def task(self) -> Path:
        """Lambda's /var/task."""
        return self.directory / "var/task"

    @property
    def path(self) -> str:
        """Where Python looks for modules, in Lambda's order."""
        return ":".join(str(self.directory / part) for part in ("var/task", "opt/python", "var/runtime"))

    @classmethod
    def of(cls, directory: Path) -> Layout:
        """Make the folders from the source, so that a module is found only if it would be deployed."""
        layout = cls(directory)
        shutil.copytree(ROOT / "functions", layout.task, ignore=NOT_DEPLOYED)
        shutil.copytree(ROOT / "layers/volcengine_client", directory / "opt", ignore=NOT_DEPLOYED)
        pins = (ROOT / "layers/dependencies/requirements.txt").read_text(encoding="utf-8")
        _link(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE), directory / "opt/python")
        (directory / "var/runtime").mkdir()
        _link(RUNTIME, directory / "var/runtime")
        return layout


def _link(names: Iterable[str], folder: Path) -> None:
    """Put what the distributions *names* have installed here into *folder*."""
    for name in names:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (folder / top).symlink_to(Path(str(installed.locate_file(top))))


@dataclass(frozen=True)
class Invocation:
    """What came of one invocation."""

    text: str = field(repr=False)

    @property
    def said(self) -> Json:
        """What the function returned, or what the runtime says of its failure."""
        return json.loads(self.text)

    @property
    def status(self) -> int:
        """The HTTP status of the function's answer."""
        status: int = self.said["statusCode"]
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the function's answer."""
        headers: dict[str, str] = self.said["headers"]
        return headers

    @property
    def body(self) -> Json:
        """The body of the function's answer."""
        return json.loads(self.said["body"])


class RuntimeEmulator:
    """The emulator as a process, with the function as its child. It takes one invocation at a time.

    Args:
        layout: Where the function's code is.
        environment: The function's variables, beside those that Lambda sets.
        log: Where the emulator and the function write.
        time_out_s: After which the emulator kills the function.
    """

    def __init__(self, layout: Layout, environment: Mapping[str, str], *, log: Path, time_out_s: int = 29) -> None:
        self._layout = layout
        self._environment = environment
        self._log = log
        self._time_out_s = time_out_s
        self._port = 0
        self._process: Daemon | None = None

    @property
    def log(self) -> str:
        """All that was written so far."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")

    @property
    def init_ms(self) -> list[float]:
        """How long each initialisation of the function took."""
        return [float(ms) for ms in re.findall(r"INIT REPORT\(durationMs: ([\d.]+)\)", self.log)]

    @property
    def duration_ms(self) -> list[float]:
        """How long each invocation took, an initialisation before it included."""
        return [float(ms) for ms in re.findall(r"^REPORT RequestId: .*\tDuration: ([\d.]+) ms", self.log, re.MULTILINE)]

    @property
    def function(self) -> psutil.Process:
        """The process of the function."""
        assert self._process is not None
        assert self._process.process is not None
        (function,) = self._process.process.children()
        return function

    async def invoke(self, event: Json) -> Invocation:
        """Invoke the function; the first time it is initialised before."""
        url = f"http://{LOOPBACK}:{self._port}/2015-03-31/functions/function/invocations"
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=event) as response:
            return Invocation(await response.text())

    async def __aenter__(self) -> Self:
        assert EMULATOR.exists(), "the Runtime Interface Emulator is not installed; `make test` installs it"
        self._start()
        await until(self._listens, what="the emulator listens", within_ms=READY_MAX_MS, clock=SystemClock())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        await asyncio.to_thread(stop, [self._process])

    def _start(self) -> None:
        self._port, runtime_port = free_port(), free_port()
        # Without both addresses it would listen on every interface.
        listen = ["--runtime-interface-emulator-address", f"{LOOPBACK}:{self._port}"]
        serve = ["--runtime-api-address", f"{LOOPBACK}:{runtime_port}"]
        # -S: nothing of this project's own environment is found but what the layout has.
        function = [sys.executable, "-S", "-m", "awslambdaric", HANDLER]
        with self._log.open("wb") as output:
            process = subprocess.Popen(
                [str(EMULATOR), *listen, *serve, *function],
                cwd=self._layout.task,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.returncode = 0  # psutil waits for it, not Popen
        self._process = Daemon("emulator", process.pid, psutil.Process(process.pid).create_time())

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._layout.directory),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": self._layout.path,
            "LAMBDA_TASK_ROOT": str(self._layout.task),
            "_HANDLER": HANDLER,
            "AWS_LAMBDA_FUNCTION_NAME": "ApiFunction",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self._time_out_s),
            **self._environment,
        }

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.process is not None, f"the emulator ended at once:\n{last_lines(self._log)}"
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
