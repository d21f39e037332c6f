"""The way from a queue to the function that takes its messages."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class JobFeed(Construct):
    """Lambda reads the queue with the function's own role, and starts one for each message.

    The CDK's event source would do the same, and grant on the way what nobody calls; the stack grants what is needed.

    Attributes:
        mapping: One message an invocation. The function says which of them failed; those stay in the queue.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        queue: sqs.IQueue,
        taker: lambda_.IFunction,
        concurrency_max: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.mapping = lambda_.EventSourceMapping(
            self,
            "Mapping",
            target=taker,
            event_source_arn=queue.queue_arn,
            batch_size=1,
            report_batch_item_failures=True,
            max_concurrency=concurrency_max,
        )
