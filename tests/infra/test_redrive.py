"""Dead letters go back to where they came from, and none is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from infra import redrive
from infra.redrive import Queues, Redrive, RedriveError


@dataclass
class Desk:
    """Two queues, emulated, and a client that may break off."""

    queues: Queues
    client: Any

    def put(self, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.queues.dead_letters, MessageBody=body)

    def there(self, address: str) -> Counter[str]:
        """Return what a queue holds, hidden messages too."""
        bodies: Counter[str] = Counter()
        while messages := self.client.receive_message(
            QueueUrl=address, MaxNumberOfMessages=10, VisibilityTimeout=600
        ).get("Messages"):
            bodies.update(message["Body"] for message in messages)
        return bodies


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(redrive, "WAIT_S", 0)
    with mock_aws():
        client = boto3.client("sqs")
        jobs, dead_letters = (client.create_queue(QueueName=name)["QueueUrl"] for name in ("jobs", "dead"))
        yield Desk(Queues(jobs, dead_letters), client)


def test_all_dead_letters_are_moved_once(desk: Desk) -> None:
    desk.put(*(f"job {n}" for n in range(23)))
    run = Redrive(desk.queues, desk.client)
    run.move(most=1_000)

    assert (run.moved_count, run.left()) == (23, (0, 0))
    assert desk.there(desk.queues.jobs) == Counter(f"job {n}" for n in range(23))


def test_no_more_are_moved_than_was_said(desk: Desk) -> None:
    desk.put(*(f"job {n}" for n in range(23)))
    run = Redrive(desk.queues, desk.client)
    run.move(most=12)

    assert (run.moved_count, run.left()) == (12, (11, 0))


def test_an_empty_queue_is_no_trouble(desk: Desk) -> None:
    run = Redrive(desk.queues, desk.client)
    run.move(most=10)

    assert (run.moved_count, run.left()) == (0, (0, 0))


@pytest.mark.parametrize("broken", ["send_message_batch", "delete_message_batch"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_run_that_breaks_off_anywhere_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, broken: str, *, is_done: bool
) -> None:
    """The reply is lost, or the request; the next run goes on, and some may come twice."""
    monkeypatch.setattr(redrive, "HIDDEN_S", 0)
    bodies = [f"job {n}" for n in range(5)]
    desk.put(*bodies)
    known = getattr(desk.client, broken)

    def break_off(**arguments: Any) -> Any:
        if is_done:
            known(**arguments)
        raise ReadTimeoutError(endpoint_url="https://sqs")

    monkeypatch.setattr(desk.client, broken, break_off)
    with pytest.raises(RedriveError, match="SQS"):
        Redrive(desk.queues, desk.client).move(most=10)
    monkeypatch.setattr(desk.client, broken, known)
    Redrive(desk.queues, desk.client).move(most=10)
    there = desk.there(desk.queues.jobs)

    assert there.keys() == set(bodies)
    assert max(there.values()) <= 2
    assert not desk.there(desk.queues.dead_letters)


def test_what_the_queue_does_not_take_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("job 1", "job 2")
    known = desk.client.send_message_batch

    def take_one(**arguments: Any) -> Any:
        answer = known(QueueUrl=arguments["QueueUrl"], Entries=arguments["Entries"][:1])
        failed = [{"Id": one["Id"], "Code": "InternalError", "SenderFault": False} for one in arguments["Entries"][1:]]
        return {**answer, "Failed": failed}

    monkeypatch.setattr(desk.client, "send_message_batch", take_one)
    run = Redrive(desk.queues, desk.client)
    with pytest.raises(RedriveError, match="did not take 1 of them \\(InternalError\\)"):
        run.move(most=10)

    assert run.moved_count == 1
    assert sum(run.left()) == 1


def test_a_stack_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoStacks:
        def describe_stacks(self, **_arguments: str) -> Any:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "no such stack"}}, "DescribeStacks")

    monkeypatch.setattr(boto3, "client", lambda _service: NoStacks())

    assert redrive.main(["--stage", "cloud"]) == 1
    assert "VolcengineConcurrentTts-cloud" in capsys.readouterr().err
