"""The command line through a gateway, over HTTP against the real routes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, audio_in, manifest_in, write_tasks
from tests.support.gateway import ADMIN_KEY, SERVER_LOGIN
from tests.support.job_door import JobDoor, Refusal, opened
from volcengine_client import GatewayClient, TaskItem
from volcengine_client.errors import VoiceNotGrantedError

LIMIT = 3


@pytest.fixture
def door(tmp_path: Path) -> Iterator[JobDoor]:
    with opened(JobDoor(tmp_path / "server", limit=LIMIT)) as made:
        yield made
    assert made.workshop.voice.peak[SERVER_LOGIN.app_id] <= LIMIT


@pytest.fixture
def line(door: JobDoor) -> Iterator[CommandLine]:
    commands = CommandLine({"VOLCENGINE_TTS_GATEWAY": door.url, "ADMIN_API_KEY": ADMIN_KEY})
    yield commands
    commands.end()


def number_list(path: Path, count: int) -> Path:
    return write_tasks(path, [{"text": f"Number {n}."} for n in range(count)])


def submitted(door: JobDoor) -> int:
    return sum((method, path) == ("POST", "/jobs") for method, path, _ in door.asked)


# --- batches ------------------------------------------------------------------------------


def test_a_list_is_spoken_by_the_gateway(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = line.run("batch", number_list(tmp_path / "tasks.jsonl", 130), "-o", out, "--app", "bookshop")

    assert ended.code == 0, ended.said
    assert "130 spoken" in ended.out
    assert audio_in(out) == {f"task_{n + 1:04}.mp3": f"Number {n}.".encode() for n in range(130)}
    assert [entry["index"] for entry in manifest_in(out)] == list(range(130))
    assert all(entry["duration_ms"] == 1_000 for entry in manifest_in(out))
    assert submitted(door) == 1
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_second_run_hands_in_only_what_is_missing(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    line.run("batch", number_list(tasks, 5), "-o", out)
    line.run("batch", tasks, "-o", out)
    assert submitted(door) == 1
    line.run("batch", number_list(tasks, 7), "-o", out)

    assert submitted(door) == 2
    assert sum(door.workshop.bought().values()) == 7
    assert len(audio_in(out)) == 7


def test_failed_tasks_are_told_and_tried_again_next_time(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    refused = VoiceNotGrantedError("no such voice")
    door.workshop.voice.outcome = lambda _login, task: refused if "1" in task.text else task.text.encode()
    tasks, out = number_list(tmp_path / "tasks.jsonl", 3), tmp_path / "out"
    ended = line.run("batch", tasks, "-o", out)
    assert ended.code == 1
    assert [entry["error"] and entry["error"]["code"] for entry in manifest_in(out)] == [
        None,
        "voice_not_granted",
        None,
    ]
    door.workshop.voice.outcome = lambda _login, task: task.text.encode()

    assert line.run("batch", tasks, "-o", out).code == 0
    assert len(audio_in(out)) == 3


def test_audio_whose_address_has_expired_is_asked_for_anew(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    door.refused_path = "/audio/"
    door.refusals = [Refusal(403, "<Error>Request has expired</Error>")]
    ended = line.run("batch", number_list(tmp_path / "tasks.jsonl", 3), "-o", tmp_path / "out")

    assert ended.code == 0, ended.said
    assert len(audio_in(tmp_path / "out")) == 3


def test_ctrl_c_leaves_the_job_to_the_gateway_and_the_next_run_fetches_it(
    line: CommandLine, door: JobDoor, tmp_path: Path
) -> None:
    door.workshop.voice.speak_ms = 20
    tasks, out = number_list(tmp_path / "tasks.jsonl", 240), tmp_path / "out"
    process = line.start("batch", tasks, "-o", out)
    deadline = time.monotonic() + 15
    while not out.is_dir() or not audio_in(out):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=15)

    assert process.returncode == 130, said
    entries = manifest_in(out)
    assert 1 <= len(entries) < 240
    assert audio_in(out) == {entry["file"]: f"Number {entry['index']}.".encode() for entry in entries}
    (job,) = json.loads((out / ".jobs.json").read_text())["jobs"]
    assert job["job_id"] in said[1]
    assert line.run("batch", tasks, "-o", out).code == 0
    assert len(audio_in(out)) == 240
    assert submitted(door) == 1
    assert max(door.workshop.bought().values()) == 1


def test_a_cancelled_job_is_handed_in_anew(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    tasks, out = number_list(tmp_path / "tasks.jsonl", 3), tmp_path / "out"
    door.is_working = False
    process = line.start("batch", tasks, "-o", out)
    deadline = time.monotonic() + 15
    while not (out / ".jobs.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    (job,) = json.loads((out / ".jobs.json").read_text())["jobs"]
    cancelled = line.run("jobs", "cancel", job["job_id"])
    door.is_working = True

    assert "cancelled" in cancelled.out
    assert line.run("batch", tasks, "-o", out).code == 0
    assert len(audio_in(out)) == 3
    assert submitted(door) == 2


def test_an_estimate_knows_what_the_gateway_has_spoken_and_hands_nothing_in(
    line: CommandLine, door: JobDoor, tmp_path: Path
) -> None:
    with GatewayClient(door.url, ADMIN_KEY) as client:
        client.generate_batch_sync([TaskItem(text="Number 3.")])
    ended = line.run("batch", number_list(tmp_path / "tasks.jsonl", 9), "--estimate", "-o", tmp_path / "out")

    figures = {name: figure.strip() for name, figure in (row.strip().split(None, 1) for row in ended.out.splitlines())}
    assert (figures["tasks"], figures["saved"], figures["calls"], figures["characters"]) == ("9", "1", "8", "72")
    assert f"{LIMIT} calls at once" in figures["expected"]
    assert submitted(door) == 1  # for the estimate
    assert sum(door.workshop.bought().values()) == 1
    assert line.run("jobs", "list").out.count("queued") == 0


def test_a_gateway_that_is_out_of_reach_is_told(tmp_path: Path) -> None:
    line = CommandLine({"VOLCENGINE_TTS_GATEWAY": "http://127.0.0.1:9"})
    ended = line.run("batch", number_list(tmp_path / "tasks.jsonl", 1), "-o", tmp_path / "out")

    assert ended.code == 1
    assert "can't be reached" in ended.err
    assert manifest_in(tmp_path / "out") == []


# --- the admin key --------------------------------------------------------------------------


def test_the_admin_key_may_stand_in_a_file(door: JobDoor, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{ADMIN_KEY}\n")
    ended = CommandLine({}).run("jobs", "list", "--gateway", door.url, "--admin-key-file", tmp_path / "key")

    assert ended.code == 0, ended.said


def test_a_wrong_admin_key_is_to_be_corrected_and_is_not_repeated(door: JobDoor) -> None:
    line = CommandLine({"VOLCENGINE_TTS_GATEWAY": door.url, "ADMIN_API_KEY": "canary-key"})
    ended = line.run("jobs", "list")

    assert ended.code == 2
    assert "canary-key" not in ended.said


def test_without_an_address_the_jobs_are_nobodys() -> None:
    ended = CommandLine({}).run("jobs", "list")

    assert ended.code == 2
    assert "--gateway" in ended.err


# --- jobs -----------------------------------------------------------------------------------


@pytest.fixture
def job_id(door: JobDoor) -> str:
    with GatewayClient(door.url, ADMIN_KEY) as client:
        tasks = [TaskItem("one/two", "One.", encoding="wav"), TaskItem(text="Two."), TaskItem("bad", "Three.")]
        job = client.submit_sync(tasks, app="bookshop", priority="interactive")
        client.wait_sync(job.job_id)
        return job.job_id


def test_jobs_are_listed_and_shown(line: CommandLine, job_id: str) -> None:
    listed = line.run("jobs", "list")
    others = line.run("jobs", "list", "--app", "another")
    done, queued = (line.run("jobs", "list", "--state", state) for state in ("done", "queued"))
    wrong = line.run("jobs", "list", "--state", "lost")
    shown = line.run("jobs", "show", job_id)

    assert job_id in listed.out
    assert "bookshop" in listed.out
    assert job_id not in others.out
    assert job_id in done.out
    assert job_id not in queued.out
    assert wrong.code == 2
    assert "3, 3 done, 0 failed" in shown.out
    assert "interactive" in shown.out


def test_an_unknown_job_is_told(line: CommandLine) -> None:
    for command in ("show", "cancel", "download"):
        ended = line.run("jobs", command, "0" * 32)

        assert ended.code == 2
        assert "No job has this id" in ended.err


def test_a_jobs_audio_is_downloaded_once(line: CommandLine, door: JobDoor, job_id: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = line.run("jobs", "download", job_id, "-o", out)
    fetched_count = sum(path.startswith("/audio/") for _, path, _ in door.asked)
    second = line.run("jobs", "download", job_id, "-o", out)

    assert (first.code, second.code) == (0, 0), first.said
    assert audio_in(out) == {"00001-one_two.wav": b"One.", "00002-task_2.mp3": b"Two.", "00003-bad.mp3": b"Three."}
    assert [entry["name"] for entry in manifest_in(out)] == ["one/two", "task_2", "bad"]
    assert fetched_count == sum(path.startswith("/audio/") for _, path, _ in door.asked) == 3


def test_a_download_goes_on_where_it_was_cut(line: CommandLine, door: JobDoor, job_id: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line.run("jobs", "download", job_id, "-o", out)
    (out / "00002-task_2.mp3").unlink()
    line.run("jobs", "download", job_id, "-o", out)

    assert audio_in(out).keys() == {"00001-one_two.wav", "00002-task_2.mp3", "00003-bad.mp3"}
    assert [entry["index"] for entry in manifest_in(out)] == [0, 1, 2]
    assert sum(path.startswith("/audio/") for _, path, _ in door.asked) == 4


def test_a_cancelled_jobs_tasks_have_failed(line: CommandLine, door: JobDoor, tmp_path: Path) -> None:
    door.is_working = False
    with GatewayClient(door.url, ADMIN_KEY) as client:
        job = client.submit_sync([TaskItem(text="One.")])
    line.run("jobs", "cancel", job.job_id)
    ended = line.run("jobs", "download", job.job_id, "-o", tmp_path / "out")

    assert ended.code == 1
    assert manifest_in(tmp_path / "out")[0]["error"]["code"] == "job_cancelled"


# --- the pool -------------------------------------------------------------------------------


def test_the_pool_is_told(line: CommandLine, door: JobDoor) -> None:
    with GatewayClient(door.url, ADMIN_KEY) as client:
        client.generate_batch_sync([TaskItem(text="Hello.")])
    ended = line.run("status")

    assert ended.code == 0, ended.said
    assert f"Pool server: 0 of {LIMIT} slots in use" in ended.out
    assert line.run("status", "nowhere").code == 2


def test_the_pool_is_watched_until_ctrl_c(line: CommandLine, door: JobDoor) -> None:
    with GatewayClient(door.url, ADMIN_KEY) as client:
        client.generate_batch_sync([TaskItem(text="Hello.")])
    process = line.start("status", "--watch", "--every", "0.2")
    deadline = time.monotonic() + 15
    while sum(path == "/pools/server" for _, path, _ in door.asked) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=15)

    assert process.returncode == 130, said
    assert "Pool server" in said[0]
    assert "Traceback" not in said[1]


def test_who_holds_and_who_waits_is_shown(line: CommandLine, door: JobDoor) -> None:
    """A long batch of one app holds all; another's waits."""
    door.workshop.voice.speak_ms = 400
    with GatewayClient(door.url, ADMIN_KEY) as client:
        client.generate_batch_sync([TaskItem(text="Hello.")])
        for app in ("first", "second"):
            client.submit_sync([TaskItem(text=f"{app} {n}.") for n in range(8)], app=app)
        deadline = time.monotonic() + 15
        while len(client.status_sync().participants) < 2:
            assert time.monotonic() < deadline
        told = line.run("status").out

    assert "first" in told
    assert "second" in told
