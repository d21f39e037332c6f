"""`sam local invoke` with event after event, against an emulated AWS and the simulated upstream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infra.local import embedded_aws, simulator
from infra.local.errors import LocalStackError
from infra.local.lifecycle import Say
from infra.local.places import ROOT, Places, port, write_private
from infra.local.processes import stop
from infra.local.sam import resources
from infra.local.sam.base_image import AMAZONS
from infra.local.sam.engine import Engine
from infra.local.sam.hand_on import handed_on
from infra.local.sam.template import Function
from infra.local.settings import SIMULATED_ACCESS_KEY, SIMULATED_APP_ID, Settings, inherited
from infra.local.waiting import ready
from volcengine_client.clock import SystemClock

SAM = ROOT / ".local/sam/venv/bin/sam"
EVENTS = ROOT / "tests/events"
ADMIN_KEY = "admin-key-of-the-events"
# What each event is answered with, in the order in which they are sent: a pool is there once a batch has been.
STATUS: Mapping[str, int] = {
    "health": 200,
    "generate_batch": 200,
    "generate_batch_base64": 200,
    "generate_batch_own_credentials": 200,
    "pools": 200,
    "pool": 200,
    "voices": 200,
    "openapi": 200,
    "wrong_admin_key": 401,
    "unknown_route": 404,
    "wrong_method": 405,
    "generate_batch_invalid": 422,
}
NAME = "sam"  # of what the function uses
HOST = "host.docker.internal"
INVOKE_MAX_S = 180
END_MAX_S = 10
LAST_CHARACTERS = 2_000


@dataclass(frozen=True)
class Surroundings:
    """What the function talks to, as seen from this machine."""

    aws_port: int
    upstream_port: int


@asynccontextmanager
async def surroundings(places: Places) -> AsyncIterator[Surroundings]:
    """Run an emulated AWS, with what the function uses, and a simulated upstream."""
    shutil.rmtree(places.emulated(NAME), ignore_errors=True)
    clock = SystemClock()
    aws_port = port(places, "aws", wanted=None, setting="")
    upstream_port = port(places, "upstream", wanted=None, setting="")
    daemons = [embedded_aws.launch(places, stage=NAME, port=aws_port)]
    try:
        daemons.append(simulator.launch(places, Settings(), port=upstream_port))
        await ready(daemons[0], embedded_aws.health_url(aws_port), log=places.log("aws"), clock=clock)
        upstream_url = simulator.report_url(simulator.url(upstream_port))
        await ready(daemons[1], upstream_url, log=places.log("upstream"), clock=clock)
        resources.make(
            embedded_aws.endpoint(aws_port),
            NAME,
            volcengine_tts_appid=SIMULATED_APP_ID,
            volcengine_tts_access_key=SIMULATED_ACCESS_KEY,
            volcengine_tts_concurrency=10,
            admin_api_key=ADMIN_KEY,
        )
        yield Surroundings(aws_port, upstream_port)
    finally:
        await asyncio.to_thread(stop, daemons)


async def invoke(
    function: Function, names: Sequence[str], *, engine: Engine, image: str, places: Places, say: Say
) -> bool:
    """Invoke *function* with the events *names*, and say whether each was answered as it should be.

    Raises:
        LocalStackError: Something needed doesn't start.
    """
    async with surroundings(places) as around:
        reached = (around.aws_port, around.upstream_port)
        async with handed_on(reached, address=await asyncio.to_thread(engine.gateway)):
            invocation = _Invocation(function, around, engine, image, places)
            invocation.write_variables()
            verdicts = [await invocation.run(name, say=say) for name in names]
    return all(verdicts)


@dataclass(frozen=True)
class _Invocation:
    function: Function
    around: Surroundings
    engine: Engine
    image: str
    places: Places

    @property
    def _variables(self) -> str:
        return str(self.places.directory / "variables.json")

    def write_variables(self) -> None:
        """Write down the variables that lead the function to its surroundings."""
        values = {
            "VOLCENGINE_TTS_SECRET_ID": NAME,
            "VOLCENGINE_TTS_POOL_TABLE": NAME,
            "VOLCENGINE_TTS_JOB_TABLE": resources.jobs_of(NAME),
            "VOLCENGINE_TTS_BUCKET": NAME,
            "VOLCENGINE_TTS_JOB_QUEUE": f"http://{HOST}:{self.around.aws_port}/{embedded_aws.ACCOUNT}/{NAME}",
            "VOLCENGINE_TTS_ENDPOINT": f"http://{HOST}:{self.around.upstream_port}",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.around.aws_port}",
        }
        write_private(self.places.directory / "variables.json", {"Parameters": values})

    def _command(self, name: str) -> list[str]:
        command = [str(SAM), "local", "invoke", self.function.logical_id]
        command += ["--template", str(self.function.template), "--event", str(EVENTS / f"{name}.json")]
        command += ["--env-vars", self._variables, "--add-host", f"{HOST}:host-gateway", "--skip-pull-image"]
        command += ["--layer-cache-basedir", str(self.places.directory / "layers")]
        return command if self.image == AMAZONS else [*command, "--invoke-image", self.image]

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **inherited(),
            **embedded_aws.CREDENTIALS,
            **self.engine.environment,
            "AWS_ENDPOINT_URL": embedded_aws.endpoint(self.around.aws_port),  # sam asks who it is
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SAM_CLI_TELEMETRY": "0",
            "__SAM_CLI_APP_DIR": str(self.places.directory / "home"),
        }

    async def run(self, name: str, *, say: Say) -> bool:
        """Invoke with one event; what came is kept in a file."""
        command = self._command(name)
        say(f"$ {_told(command)}")
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(INVOKE_MAX_S):
                answer, log = (output.decode(errors="replace") for output in await process.communicate())
        except TimeoutError:
            raise LocalStackError(f"sam local invoke took more than {INVOKE_MAX_S} s") from None
        finally:
            await _end(process)
        self._keep(name, answer, log)
        status, wanted = status_of(answer), STATUS[name]
        if status != wanted or not are_all_spoken(answer):
            say(f"  {status}, but should be {wanted}, with every text spoken\n{answer[:LAST_CHARACTERS]}")
            say(log[-LAST_CHARACTERS:])
            return False
        say(f"  {status}, as documented; with its cold start {_duration(log)}")
        return True

    def _keep(self, name: str, answer: str, log: str) -> None:
        folder = self.places.directory / "answers"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(answer, encoding="utf-8")
        (folder / f"{name}.log").write_text(log, encoding="utf-8")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupt *process* if it still runs, so that it removes its container."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(END_MAX_S):
            await process.wait()
    except TimeoutError:
        process.kill()


def status_of(answer: str) -> int | None:
    """Return the HTTP status in what the function returned; None when it returned no answer."""
    try:
        said = json.loads(answer)
    except ValueError:
        return None
    status = said.get("statusCode") if isinstance(said, dict) else None
    return status if isinstance(status, int) else None


def are_all_spoken(answer: str) -> bool:
    """Say whether no task of a batch failed; what is no batch has none."""
    body = json.loads(json.loads(answer)["body"])
    return all(result["error"] is None and result["audio_base64"] for result in body.get("results", []))


def _duration(log: str) -> str:
    found = re.search(r"^REPORT RequestId: .*\tDuration: ([\d.]+ ms)", log, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _told(command: Sequence[str]) -> str:
    """Return *command* as a person would type it in the project's folder."""
    return shlex.join(word.removeprefix(f"{ROOT}/") for word in command)
