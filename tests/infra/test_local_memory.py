"""What the local stack takes over from its last time."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from infra.local.deployment import Deployment
from infra.local.embedded_aws import forget_other_port
from infra.local.lifecycle import Stack
from tests.infra.templates import deployed


def test_at_the_same_port_everything_is_remembered(tmp_path: Path) -> None:
    forget_other_port(tmp_path, 4566)
    (tmp_path / "sqs.json").touch()
    forget_other_port(tmp_path, 4566)

    assert (tmp_path / "sqs.json").exists()


def test_at_another_port_nothing_is_remembered(tmp_path: Path) -> None:
    """The emulator finds a queue of its memory by an address with the port, and would feed the worker no more."""
    forget_other_port(tmp_path, 4566)
    (tmp_path / "sqs.json").touch()
    forget_other_port(tmp_path, 4567)

    assert not (tmp_path / "sqs.json").exists()


def test_what_was_remembered_at_an_unknown_port_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "sqs.json").touch()
    forget_other_port(tmp_path, 4566)

    assert not (tmp_path / "sqs.json").exists()


def test_a_local_stack_tells_every_name_that_the_deployment_puts_out() -> None:
    outputs = {name: f"the {name}" for name in deployed("local")["Outputs"]}
    made = Deployment.of("fingerprint", {"a stack": outputs})

    told = {one.name for one in fields(Deployment)} - {"fingerprint", "api_id", "client_policy_arn"}
    assert (made.job_table, made.bucket) == ("the JobTableName", "the BucketName")
    assert (made.job_queue, made.dead_letter_queue) == ("the JobQueueUrl", "the DeadLetterQueueUrl")
    assert told <= {one.name for one in fields(Stack)}
