"""The local stack's commands.

`python -m infra.local.stack up` leaves a stack running and writes `.local/stack.json`; `down` stops it; `run` speaks a
sample batch through it, and stops it again if it was not running before.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infra.local import demo, lifecycle
from infra.local.errors import LocalStackError
from infra.local.places import ROOT, Places, held
from infra.local.settings import Settings, from_environment
from volcengine_client.clock import SystemClock

console = Console(highlight=False, soft_wrap=True)


async def _up(places: Places, wanted: Settings) -> lifecycle.Stack:
    clock = SystemClock()
    began_at_ms = clock.monotonic_ms()
    with held(places):
        stack = await lifecycle.up(places, wanted, clock=clock, say=_say)
    _say(f"ready after {(clock.monotonic_ms() - began_at_ms) / 1_000:.1f} s")
    return stack


async def _down(places: Places) -> bool:
    with held(places):
        return await asyncio.to_thread(lifecycle.down, places)


async def _run(places: Places, wanted: Settings, out: Path) -> bool:
    was_up = lifecycle.is_anything_up(places)
    try:
        stack = await _up(places, wanted)
        return await demo.speak_sample(stack, out=out, console=console, clock=SystemClock())
    finally:
        if not was_up:
            await _down(places)


async def _obey(arguments: argparse.Namespace) -> bool:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    places = Places(arguments.directory.resolve())
    if arguments.command == "down":
        _say("stopped" if await _down(places) else "nothing was running")
        return True
    wanted = from_environment(arguments.env_file)
    if arguments.command == "run":
        return await _run(places, wanted, arguments.out)
    stack = await _up(places, wanted)
    _say(f"gateway   {stack.api_url}\nupstream  {stack.upstream_url}\nAWS       {stack.aws_endpoint_url}")
    _say(f"The keys are in {places.stack_file}. Stop it with `make down`.")
    return True


def _say(message: str) -> None:
    console.print(message, markup=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "down", "run"])
    parser.add_argument("--directory", type=Path, default=ROOT / ".local", help="what the stack keeps (.local)")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env", help="settings beside the environment (.env)")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="where `run` puts the audio (out)")
    try:
        return 0 if asyncio.run(_obey(parser.parse_args(arguments))) else 1
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
