"""The command line against the deployed stack: a list is spoken once, whatever is asked of it again."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.support.command_line import CommandLine, Ended, audio_in, manifest_in, write_tasks
from tests.support.crowd import expected_audio
from tests.support.local_jobs import submitted
from tests.support.local_stack import Gateway

MEAN_MS = 50
VOICE = "BV001_streaming"


@pytest.fixture
def line(stack: Stack) -> CommandLine:
    return CommandLine({"ADMIN_API_KEY": stack.admin_api_key})


async def test_a_list_is_spoken_once_and_its_job_shown_fetched_and_cancelled(
    stack: Stack, gateway: Gateway, simulator: Simulator, line: CommandLine, tmp_path: Path
) -> None:
    run = secrets.token_hex(3)
    tasks = [{"task_id": f"t{n}", "text": f"Line {n} of {run}.", "voice_type": VOICE} for n in range(5)]
    wanted = await asyncio.to_thread(lambda: [expected_audio(task) for task in tasks])
    file, out, again = write_tasks(tmp_path / "tasks.jsonl", tasks), tmp_path / "out", tmp_path / "again"
    await simulator.order(mean_ms=MEAN_MS, reset=True)

    async def told(*arguments: object) -> Ended:
        return await asyncio.to_thread(line.run, *arguments, "--gateway", stack.api_url)

    async def calls() -> int:
        return len((await simulator.record()).calls)

    estimated = await told("batch", file, "-o", out, "--estimate")
    assert (estimated.code, await calls()) == (0, 0), estimated.said
    first = await told("batch", file, "-o", out, "--app", "bookshop")
    second = await told("batch", file, "-o", out, "--app", "bookshop")
    elsewhere = await told("batch", file, "-o", again)

    assert (first.code, second.code, elsewhere.code) == (0, 0, 0), first.said + second.said + elsewhere.said
    assert await calls() == len(tasks), "nothing is bought twice"
    for folder in (out, again):
        entries = manifest_in(folder)
        assert [(entry["index"], entry["name"], entry["error"]) for entry in entries] == [
            (n, f"t{n}", None) for n in range(5)
        ]
        assert [audio_in(folder)[entry["file"]] for entry in entries] == wanted

    listed = await told("jobs", "list", "--app", "bookshop")
    job_id = next(word for word in listed.out.split() if len(word.strip("│┃ ")) == 32).strip("│┃ ")
    shown = await told("jobs", "show", job_id)
    fetched = await told("jobs", "download", job_id, "-o", tmp_path / "fetched")
    status = await told("status")
    assert (listed.code, shown.code, fetched.code, status.code) == (0, 0, 0, 0), listed.said + fetched.said
    assert "5, 5 done, 0 failed" in shown.out
    assert sorted(audio_in(tmp_path / "fetched").values()) == sorted(wanted)
    assert "Pool server: 0 of 10 slots in use" in status.out

    await simulator.order(mean_ms=2_000)
    more = [{"text": f"More {n} of {run}.", "voice_type": VOICE} for n in range(200)]
    running = (await submitted(gateway, more)).rpartition("/")[2]
    cancelled = await told("jobs", "cancel", running)
    assert cancelled.code == 0, cancelled.said
    assert "cancelled" in (await told("jobs", "show", running)).out
    assert await calls() < len(tasks) + len(more)
