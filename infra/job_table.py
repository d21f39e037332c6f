"""The table of the jobs."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

BY_ACCOUNT = "by_account"


class JobTable(Construct):
    """One item a job: its state and its counts; its texts and its audio lie in the bucket (I6).

    Losing it would lose sight of what was ordered and paid. So a table with data worth keeping refuses to be deleted
    and outlives its stack.

    Attributes:
        table: On demand, partition key `job_id`; items vanish some time after `expires_at`, in seconds since 1970.
        index_arn: Of the index `by_account`: an account's jobs, in the order of `sorted_by`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, is_data_kept: bool) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=_text("job_id"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires_at",
            deletion_protection=is_data_kept,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=RemovalPolicy.RETAIN if is_data_kept else RemovalPolicy.DESTROY,
        )
        self.table.add_global_secondary_index(
            index_name=BY_ACCOUNT,
            partition_key=_text("account"),
            sort_key=_text("sorted_by"),
            projection_type=dynamodb.ProjectionType.ALL,
        )
        self.index_arn = f"{self.table.table_arn}/index/{BY_ACCOUNT}"


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
