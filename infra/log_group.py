"""Logs that end."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct


class KeptLog(Construct):
    """A log group whose events expire.

    Attributes:
        group: Without a name of its own, so that a second stack of the same stage never meets the logs of the first.
    """

    def __init__(self, scope: Construct, construct_id: str, *, retention_days: int, is_data_kept: bool) -> None:
        super().__init__(scope, construct_id)
        retention = {
            1: logs.RetentionDays.ONE_DAY,
            7: logs.RetentionDays.ONE_WEEK,
            30: logs.RetentionDays.ONE_MONTH,
            90: logs.RetentionDays.THREE_MONTHS,
            365: logs.RetentionDays.ONE_YEAR,
        }[retention_days]
        self.group = logs.LogGroup(
            self,
            "Group",
            retention=retention,
            removal_policy=RemovalPolicy.RETAIN if is_data_kept else RemovalPolicy.DESTROY,
        )
