"""The stack: composes the constructs and grants what the function's code calls."""

from __future__ import annotations

import json

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import nag
from infra.account_secret import AccountSecret
from infra.api_function import ApiFunction
from infra.client_policy import PoolClientPolicy
from infra.http_api import HttpApi
from infra.layers import Layers
from infra.log_group import KeptLog
from infra.pool_table import PoolTable
from infra.stages import POOL_OF_THE_SERVER, Stage

SERVICE = "volcengine-concurrent-tts"


class GatewayStack(Stack):
    """One gateway: an API, a function, a table of pools, a secret."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        super().__init__(scope, construct_id, description="Volcano Engine text-to-speech gateway")
        self._stage = stage
        self._pools = PoolTable(self, "Pools", is_data_kept=stage.is_data_kept)
        self._account = AccountSecret(self, "Account", is_data_kept=stage.is_data_kept)
        self._log = self._kept_log("FunctionLog")
        self._function = ApiFunction(
            self,
            "ApiFunction",
            stage=stage,
            environment=self._environment(),
            layers=Layers(self, "Layers", wheels=stage.wheels).versions,
            log_group=self._log.group,
        )
        self._api = HttpApi(
            self,
            "HttpApi",
            stage=stage,
            function=self._function.function,
            access_log=self._kept_log("AccessLog").group,
        )
        self._clients = PoolClientPolicy(self, "PoolClients", table=self._pools.table, pool=POOL_OF_THE_SERVER)
        self._grant()
        self._say()
        nag.acknowledge(account=self._account, function=self._function, api=self._api)

    def _kept_log(self, construct_id: str) -> KeptLog:
        stage = self._stage
        return KeptLog(self, construct_id, retention_days=stage.log_retention_days, is_data_kept=stage.is_data_kept)

    def _environment(self) -> dict[str, str]:
        times = self._stage.pool_times
        environment = {
            "VOLCENGINE_TTS_SECRET_ID": self._account.secret.secret_arn,
            "VOLCENGINE_TTS_POOL_TABLE": self._pools.table.table_name,
            "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS": str(times.upstream_call_max_ms),
            "VOLCENGINE_TTS_SKEW_MS": str(times.skew_ms),
            "VOLCENGINE_TTS_SEND_MAX_MS": str(times.send_max_ms),
            "VOLCENGINE_TTS_RENEW_MS": str(times.renew_ms),
            "VOLCENGINE_TTS_LEASE_MS": str(times.lease_ms),
            "VOLCENGINE_TTS_CALLERS_CREDENTIALS": self._stage.callers_credentials,
            "VOLCENGINE_TTS_APP_WEIGHTS": json.dumps(dict(self._stage.app_weights), sort_keys=True),
            "POWERTOOLS_SERVICE_NAME": SERVICE,
            "POWERTOOLS_LOG_LEVEL": self._stage.log_level,
            "POWERTOOLS_METRICS_NAMESPACE": SERVICE,
            # A response holds audio and an error may hold a caller's words: neither goes into a trace (I6).
            "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
            "POWERTOOLS_TRACER_CAPTURE_ERROR": "false",
        }
        if self._stage.upstream_endpoint:
            environment["VOLCENGINE_TTS_ENDPOINT"] = self._stage.upstream_endpoint
        return environment

    def _grant(self) -> None:
        """Allow what the code calls, by action; traces are allowed by the function's tracing itself."""
        for actions, resource in (
            (["secretsmanager:GetSecretValue"], self._account.secret.secret_arn),
            (["logs:CreateLogStream", "logs:PutLogEvents"], self._log.group.log_group_arn),
            (
                ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Scan"],
                self._pools.table.table_arn,
            ),
        ):
            self._function.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))

    def _say(self) -> None:
        outputs = {
            "ApiUrl": self._api.url,
            "PoolTableName": self._pools.table.table_name,
            "SecretArn": self._account.secret.secret_arn,
            "PoolClientPolicyArn": self._clients.policy.managed_policy_arn,
        }
        if self._api.domain_target:
            outputs["ApiDomainTarget"] = self._api.domain_target
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
