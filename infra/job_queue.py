"""The queue between the API and the worker."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.stages import DEAD_LETTERS_KEPT_DAYS, LOST_TAKES_MAX, LOST_VISIBILITY_MS, MESSAGES_KEPT_DAYS


class JobQueue(Construct):
    """Says which job has work to do; a message holds ids and nothing that was written by a caller (I6).

    Attributes:
        queue: A message that a worker has taken is hidden from the others until the worker is surely dead.
        lost: What failed too often, until its job says so. It keeps the age that it had in the queue, so it lives
            longer.
        dead_letters: The same from then on, for the operator.
    """

    def __init__(self, scope: Construct, construct_id: str, *, visibility_ms: int, attempts_max: int) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(DEAD_LETTERS_KEPT_DAYS),
        )
        self.lost = sqs.Queue(
            self,
            "Lost",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(DEAD_LETTERS_KEPT_DAYS),
            visibility_timeout=Duration.millis(LOST_VISIBILITY_MS),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=LOST_TAKES_MAX),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(MESSAGES_KEPT_DAYS),
            visibility_timeout=Duration.millis(visibility_ms),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.lost, max_receive_count=attempts_max),
        )
