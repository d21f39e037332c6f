"""The table of the pools."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct


class PoolTable(Construct):
    """One item a pool: the only truth about who may call the upstream.

    Losing it or turning it back would free slots that are in use (I1). So a table with data worth keeping refuses to
    be deleted and outlives its stack.

    Attributes:
        table: On demand, partition key `pool`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, is_data_kept: bool) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pool", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires_at",
            deletion_protection=is_data_kept,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=RemovalPolicy.RETAIN if is_data_kept else RemovalPolicy.DESTROY,
        )
