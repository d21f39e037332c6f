"""What `make sam` does around `sam local invoke`, as far as it can be tried without a Docker engine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

from infra.local.places import LOOPBACK, ROOT
from infra.local.sam.base_image import AMAZONS, SUBSTITUTE, told_of
from infra.local.sam.hand_on import handed_on
from infra.local.sam.invoking import EVENTS, STATUS, are_all_spoken, status_of
from infra.local.sam.template import open_to_override

GATEWAY = "127.0.0.2"  # another address of this machine
FUNCTION = {
    "Type": "AWS::Lambda::Function",
    "Properties": {"Handler": "api.handler.lambda_handler", "Environment": {"Variables": {"KEPT": "1"}}},
}
OTHER = {"Type": "AWS::Lambda::Function", "Properties": {"Handler": "worker.handler.lambda_handler"}}


def make_sam(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it where no engine is."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock"}
    return subprocess.run(
        [sys.executable, "-m", "infra.local.sam", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = make_sam(tmp_path)

    assert done.returncode == 1
    assert "No Docker engine answers" in done.stderr
    assert "START_DOCKER=1 make sam" in done.stderr


def test_an_unknown_event_is_refused_by_name(tmp_path: Path) -> None:
    done = make_sam(tmp_path, "no_such_event")

    assert done.returncode == 2
    assert "there is no event no_such_event" in done.stderr


def test_every_event_file_has_its_status() -> None:
    assert set(STATUS) == {path.stem for path in EVENTS.iterdir()}


def test_a_substitute_is_never_told_as_amazons_own() -> None:
    assert "Amazon's own" in told_of(AMAZONS)
    assert "NOT Amazon's" in told_of(SUBSTITUTE)


def test_the_template_names_the_variable_that_leads_to_an_emulated_aws() -> None:
    template = {"Resources": {"Api": json.loads(json.dumps(FUNCTION)), "Worker": OTHER}}

    assert open_to_override(template) == "Api"
    assert template["Resources"]["Api"]["Properties"]["Environment"]["Variables"] == {
        "KEPT": "1",
        "AWS_ENDPOINT_URL": "",
    }


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ('{"statusCode": 200, "body": "{}"}', 200),
        ('{"errorType": "Runtime.ImportModuleError"}', None),
        ("Task timed out after 29.00 seconds", None),
        ("[]", None),
        ("", None),
    ],
)
def test_only_an_answer_of_the_function_has_a_status(answer: str, status: int | None) -> None:
    assert status_of(answer) == status


@pytest.mark.parametrize(
    ("results", "are"),
    [
        ([], True),
        ([{"error": None, "audio_base64": "UklG"}], True),
        ([{"error": None, "audio_base64": ""}], False),
        ([{"error": {"code": "upstream"}, "audio_base64": ""}], False),
    ],
)
def test_a_batch_with_a_failed_task_is_not_taken_for_spoken(results: list[object], are: bool) -> None:
    assert are_all_spoken(json.dumps({"statusCode": 200, "body": json.dumps({"results": results})})) == are


async def test_containers_reach_what_listens_on_loopback_only() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    socket_allow_hosts([LOOPBACK, GATEWAY])
    server = await asyncio.start_server(shout, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, handed_on([port], address=GATEWAY):
        reader, writer = await asyncio.open_connection(GATEWAY, port)
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert answer == b"HELLO\n"


async def test_an_address_of_another_machine_is_left_alone() -> None:
    async with handed_on([1], address="192.0.2.1"):
        pass
