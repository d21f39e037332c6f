"""Moves dead letters back to the queue of the jobs, for an operator: `python -m infra.redrive --stage cloud`.

Our own loop and not SQS's message move task, since it also works where that is missing, and says when it is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.stages import STAGES

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

AT_ONCE = 10  # messages a request; SQS takes no more
MOST = 10_000  # messages a run, unless the operator wants another number
MOST_MAX = 1_000_000
HIDDEN_S = 60  # for how long a message that is being moved is hidden from other runs
WAIT_S = 2  # SQS then asks all of its machines


class RedriveError(Exception):
    """The messages can't be moved now; says why and what was done."""


@dataclass(frozen=True, slots=True)
class Queues:
    """Addresses of the queue of the jobs, and of its dead letters."""

    jobs: str
    dead_letters: str

    @classmethod
    def of_stack(cls, name: str, client: Any) -> Queues:
        """Read them from the stack's outputs.

        Raises:
            RedriveError: There is no such stack here, or it has no queues.
        """
        try:
            [stack] = client.describe_stacks(StackName=name)["Stacks"]
        except (BotoCoreError, ClientError, ValueError) as exc:
            raise RedriveError(f"the stack {name} can't be read: {exc}") from exc
        told = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        try:
            return cls(jobs=told["JobQueueUrl"], dead_letters=told["DeadLetterQueueUrl"])
        except KeyError as exc:
            raise RedriveError(f"the stack {name} has no output {exc}: deploy it anew") from exc


@dataclass(slots=True)
class Redrive:
    """One run.

    A message is sent to the queue first, and deleted from the dead letters when that has surely happened. So wherever
    a run ends, none is lost; at worst one is there twice, which workers take as a hint to look at a job once more.

    Attributes:
        queues: From where to where.
        client: Of SQS.
        moved_count: Messages moved so far.
    """

    queues: Queues
    client: SQSClient
    moved_count: int = 0

    def move(self, *, most: int) -> None:
        """Move dead letters until there are none, or *most* were moved. Safe to repeat.

        Raises:
            RedriveError: SQS refused or gave no answer.
        """
        try:
            while self.moved_count < most and (messages := self._taken(min(AT_ONCE, most - self.moved_count))):
                self._sent_on(messages)
        except (BotoCoreError, ClientError) as exc:
            raise RedriveError(f"SQS: {exc}") from exc

    def left(self) -> tuple[int, int]:
        """Return about how many dead letters there are, and how many more are hidden for a minute at most.

        Raises:
            RedriveError: SQS refused or gave no answer.
        """
        try:
            told = self.client.get_queue_attributes(
                QueueUrl=self.queues.dead_letters,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
        except (BotoCoreError, ClientError) as exc:
            raise RedriveError(f"SQS: {exc}") from exc
        return int(told["ApproximateNumberOfMessages"]), int(told["ApproximateNumberOfMessagesNotVisible"])

    def _taken(self, count: int) -> Sequence[MessageTypeDef]:
        answer = self.client.receive_message(
            QueueUrl=self.queues.dead_letters,
            MaxNumberOfMessages=count,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=WAIT_S,
        )
        return answer.get("Messages", [])

    def _sent_on(self, messages: Sequence[MessageTypeDef]) -> None:
        entries = {str(number): message for number, message in enumerate(messages)}
        sent = self.client.send_message_batch(
            QueueUrl=self.queues.jobs,
            Entries=[{"Id": number, "MessageBody": message["Body"]} for number, message in entries.items()],
        )
        there = [one["Id"] for one in sent.get("Successful", [])]
        if there:
            self.client.delete_message_batch(
                QueueUrl=self.queues.dead_letters,
                Entries=[{"Id": number, "ReceiptHandle": entries[number]["ReceiptHandle"]} for number in there],
            )
        self.moved_count += len(there)
        if len(there) < len(entries):
            reasons = ", ".join(sorted({one["Code"] for one in sent["Failed"]}))
            raise RedriveError(
                f"SQS did not take {len(entries) - len(there)} of them ({reasons}); they stay where they are"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Move the dead letters of a stage, with the credentials that the AWS command line would use.

    Returns:
        0: All that were seen are moved. 1: They are not; what was moved stays so, and another run goes on.
    """
    parser = argparse.ArgumentParser(
        prog="python -m infra.redrive", description="Move dead letters back to the queue of the jobs. Safe to repeat."
    )
    parser.add_argument("--stage", default="cloud", choices=sorted(STAGES), help="of the stack (%(default)s)")
    parser.add_argument("--most", default=MOST, type=_count, help="messages to move at most (%(default)s)")
    given = parser.parse_args(arguments)
    redrive: Redrive | None = None
    try:
        queues = Queues.of_stack(STAGES[given.stage].stack_name, boto3.client("cloudformation"))
        redrive = Redrive(queues, boto3.client("sqs"))
        redrive.move(most=given.most)
        waiting, hidden = redrive.left()
    except (RedriveError, BotoCoreError) as exc:
        moved = "" if redrive is None else f"{redrive.moved_count:,} moved, then "
        sys.stderr.write(f"{parser.prog}: {moved}{exc}; run it again\n")
        return 1
    sys.stdout.write(f"{redrive.moved_count:,} moved, {waiting + hidden:,} left\n")
    if hidden:
        sys.stdout.write(
            f"{hidden:,} of these are being moved by another run, or were when it ended; look in a minute\n"
        )
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_MAX:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_MAX}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
