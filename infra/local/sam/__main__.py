"""`make sam`: synthesise the function, find or make a base image, invoke it with every event file."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence

import psutil

from infra.local.errors import LocalStackError
from infra.local.places import ROOT, Places, held
from infra.local.processes import Daemon, stop
from infra.local.sam import machine
from infra.local.sam.base_image import base_image, told_of
from infra.local.sam.engine import Engine, own_engine
from infra.local.sam.invoking import STATUS, invoke
from infra.local.sam.template import Function, synthesised
from infra.local.settings import inherited

PLACES = Places(ROOT / ".local/sam")
NO_ENGINE = """\
No Docker engine answers, and `sam local invoke` runs the function in a container of it.
Start Docker (or install it: Docker Desktop; on Debian `apt-get install docker.io`) and run `make sam` again,
or let this command install and run Debian's engine for itself alone: START_DOCKER=1 make sam (on Linux, as root).
Without Docker, `make test` runs the same events under Lambda's Runtime Interface Emulator."""


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.sam", description=__doc__)
    parser.add_argument("events", nargs="*", metavar="EVENT", help=f"of {', '.join(STATUS)} [all]")
    parser.add_argument("--start-docker", action="store_true", help="install and start an engine when none answers")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.events) - set(STATUS)):
        parser.error(f"there is no event {', '.join(unknown)}")
    names = [name for name in STATUS if name in options.events or not options.events]
    try:
        if options.inside:
            return asyncio.run(_ended_politely(_inside(names, *options.inside)))
        with held(PLACES):
            return asyncio.run(_ended_politely(_outside(names, may_start=options.start_docker)))
    except LocalStackError as exc:
        print(f"make sam: {exc}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("make sam: interrupted; everything that it started is stopped", file=sys.stderr)
    return 1


async def _ended_politely(work: Coroutine[None, None, int]) -> int:
    """Let SIGTERM end *work* as Ctrl-C does: by cancellation, so that nothing is left running."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def _outside(names: Sequence[str], *, may_start: bool) -> int:
    engine = Engine()
    version = engine.version()
    if version is None and may_start:
        machine.assure_may_start()
        machine.install(PLACES)
        version = engine.version()  # installing may have started it
    if version is None and not may_start:
        raise LocalStackError(NO_ENGINE)
    say("Synthesising the function with cdk synth")
    function = synthesised(PLACES)
    if version is None:
        return await _with_own_engine(function, names)
    say(f"Docker engine: the machine's, {version}")
    image = base_image(engine, PLACES, say=say)
    return await _invoke(function, names, engine, image)


async def _with_own_engine(function: Function, names: Sequence[str]) -> int:
    """Get the base image by an engine with the machine's network, then invoke with one that has a network apart."""
    say("Docker engine: one of its own, for this run")
    async with own_engine(PLACES, has_containers=False) as engine:
        image = base_image(engine, PLACES, say=say)
    command = [*machine.OWN_NAMESPACES, sys.executable, "-m", "infra.local.sam", *names]
    command += ["--inside", function.template, function.logical_id, image]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=inherited())
    family = Daemon("namespaces", process.pid, psutil.Process(process.pid).create_time())
    try:
        return await process.wait()
    finally:
        stop([family])


async def _inside(names: Sequence[str], template: str, logical_id: str, image: str) -> int:
    """Go on in namespaces of our own."""
    machine.raise_loopback()
    async with own_engine(PLACES, has_containers=True) as engine:
        return await _invoke(Function(template, logical_id), names, engine, image)


async def _invoke(function: Function, names: Sequence[str], engine: Engine, image: str) -> int:
    say(f"Base image: {told_of(image)}")
    is_good = await invoke(function, names, engine=engine, image=image, places=PLACES, say=say)
    say(f"Answers and logs are in {PLACES.directory / 'answers'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
