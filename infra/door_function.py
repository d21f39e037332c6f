"""A function of the gateway: one door's code, the layers and a role of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, IgnoreMode
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.layers import NOT_DEPLOYED, REPOSITORY
from infra.stages import Architecture

ARCHITECTURES: Mapping[Architecture, lambda_.Architecture] = {
    "arm64": lambda_.Architecture.ARM_64,
    "x86_64": lambda_.Architecture.X86_64,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """What one door has that the others don't.

    Attributes:
        handler: The import path of what Lambda calls.
        description: For whoever looks at the account.
        left_out: The folders of `functions/` that are other doors'.
        timeout_ms: After which Lambda kills the function; whole seconds.
        memory_mib: Of the function.
        reserved_concurrency: Functions at once, taken out of the account's; None: as many as the account has left.
    """

    handler: str
    description: str
    left_out: tuple[str, ...]
    timeout_ms: int
    memory_mib: int
    reserved_concurrency: int | None = None


class DoorFunction(Construct):
    """One of Lambda's doors, with a role that may do nothing but write traces.

    Attributes:
        function: Traced, with the log group and the layers given.
        role: What the stack grants goes here; no managed policy is attached.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        door: Door,
        architecture: Architecture,
        environment: Mapping[str, str],
        layers: Sequence[lambda_.ILayerVersion],
        log_group: logs.ILogGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.function = lambda_.Function(
            self,
            "Function",
            description=door.description,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=ARCHITECTURES[architecture],
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "functions"),
                exclude=[*NOT_DEPLOYED, *(f"/{folder}" for folder in door.left_out)],
                ignore_mode=IgnoreMode.GIT,
            ),
            handler=door.handler,
            layers=layers,
            environment=environment,
            role=self.role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            timeout=Duration.millis(door.timeout_ms),
            memory_size=door.memory_mib,
            reserved_concurrent_executions=door.reserved_concurrency,
        )
