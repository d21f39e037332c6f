"""The function behind the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, IgnoreMode
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.layers import NOT_DEPLOYED, REPOSITORY
from infra.stages import Architecture, Stage

ARCHITECTURES: Mapping[Architecture, lambda_.Architecture] = {
    "arm64": lambda_.Architecture.ARM_64,
    "x86_64": lambda_.Architecture.X86_64,
}


class ApiFunction(Construct):
    """Lambda's door for API Gateway, with a role that may do nothing but write traces.

    Attributes:
        function: Traced, with the log group and the layers given.
        role: What the stack grants goes here; no managed policy is attached.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        environment: Mapping[str, str],
        layers: Sequence[lambda_.ILayerVersion],
        log_group: logs.ILogGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.function = lambda_.Function(
            self,
            "Function",
            description="Volcano Engine text-to-speech over a shared pool of slots",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=ARCHITECTURES[stage.architecture],
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "functions"), exclude=[*NOT_DEPLOYED, "/worker"], ignore_mode=IgnoreMode.GIT
            ),
            handler="api.handler.lambda_handler",
            layers=layers,
            environment=environment,
            role=self.role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            timeout=Duration.millis(stage.function_timeout_ms),
            memory_size=stage.memory_mib,
            reserved_concurrent_executions=stage.reserved_concurrency,
        )
