"""Up, up again, broken, up again, down: whatever happened before, a command leaves what it says and nothing else."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator

import psutil
import pytest

from infra.local import processes
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
    daemons = commands.daemons()
    assert len(daemons) == 2

    # 1. Up again changes nothing.
    assert commands.up() == first
    assert commands.daemons() == daemons
    assert stat.S_IMODE(commands.places.stack_file.stat().st_mode) == 0o600
    assert _listened_on(daemons) == {"127.0.0.1"}

    # 2. The emulated AWS dies without a word, and leaves a function behind; up brings it back as it was deployed.
    daemons[0].kill()
    second = commands.up()
    assert (second.pool_table, second.admin_api_key, second.api_url) == (
        first.pool_table,
        first.admin_api_key,
        first.api_url,
    )
    assert asyncio.run(answers(second.api_url))

    # 3. Down leaves nothing that runs, and no key; again is fine.
    everything = [*commands.daemons(), *processes.functions(commands.places.scratch)]
    assert len(everything) >= 3
    commands.down()
    commands.down()
    assert not any(process.is_running() for process in everything)
    assert not commands.places.stack_file.exists()
    assert not commands.places.scratch.exists()


def _listened_on(daemons: list[psutil.Process]) -> set[str]:
    connections = [one for daemon in daemons for one in daemon.net_connections("inet")]
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
