"""Up, up again, broken, up again, down: whatever happened before, a command leaves what it says and nothing else."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator

import psutil
import pytest

from infra.local import processes
from infra.local.lifecycle import Stack
from infra.local.waiting import answers
from tests.support.local_stack import Commands, directory_of_stage


@pytest.fixture
def commands() -> Iterator[Commands]:
    with directory_of_stage("test") as directory:
        commands = Commands(directory, "test")
        yield commands
        commands.down()


def test_a_stack_survives_being_brought_up_twice_killed_and_stopped(commands: Commands) -> None:
    first = commands.up()
    record = commands.record()
    assert len(commands.daemons()) == 2
    assert _listened_on(commands.daemons()) == {"127.0.0.1"}
    assert stat.S_IMODE(commands.places.stack_file.stat().st_mode) == 0o600

    # 1. Up again changes nothing, unless somebody is editing the source meanwhile.
    assert commands.up() == first
    assert commands.record() == record or commands.record()["fingerprint"] != record["fingerprint"]

    # 2. Down and up again: what was deployed is still there.
    commands.down()
    second = commands.up()
    assert _kept(second) == _kept(first)

    # 3. The emulated AWS dies without a word, and leaves a function behind; up repairs that.
    commands.daemons()[0].kill()
    third = commands.up()
    assert _kept(third) == _kept(first)
    assert asyncio.run(answers(third.api_url))

    # 4. Down leaves nothing that runs, and no key; again is fine.
    everything = [*commands.daemons(), *processes.functions(commands.places.scratch)]
    assert len(everything) >= 3
    commands.down()
    commands.down()
    assert not any(process.is_running() for process in everything)
    assert not commands.places.stack_file.exists()
    assert not commands.places.scratch.exists()


def _kept(stack: Stack) -> tuple[str, str, str]:
    return stack.api_url, stack.admin_api_key, stack.pool_table


def _listened_on(daemons: list[psutil.Process]) -> set[str]:
    connections = [one for daemon in daemons for one in daemon.net_connections("inet")]
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
