"""What a client needs that joins the gateway's pool directly."""

from __future__ import annotations

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct


class PoolClientPolicy(Construct):
    """A policy for users and roles outside this stack: the items of one account's pools, nothing else.

    These are its pool and those of its products that have limits of their own, whose names begin with the pool's.

    Attributes:
        policy: To be attached by the operator to whoever runs `volcengine_client` with `pool=`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, table: dynamodb.ITable, pool: str) -> None:
        super().__init__(scope, construct_id)
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            description=f"Take part in the pool '{pool}' of the text-to-speech gateway",
            statements=[
                iam.PolicyStatement(
                    actions=["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
                    resources=[table.table_arn],
                    conditions={
                        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [pool, f"{pool}:*"]},
                        # "For all" is true of no keys at all.
                        "Null": {"dynamodb:LeadingKeys": "false"},
                    },
                )
            ],
        )
