"""The stack: composes the constructs and grants what the functions' code calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import nag
from infra.account_secret import AccountSecret
from infra.client_policy import PoolClientPolicy
from infra.door_function import Door, DoorFunction
from infra.http_api import HttpApi
from infra.job_feed import JobFeed
from infra.job_queue import JobQueue
from infra.job_table import JobTable
from infra.layers import Layers
from infra.log_group import KeptLog
from infra.pool_table import PoolTable
from infra.speech_bucket import JOBS, SPEECH, SpeechBucket
from infra.stages import LOST_CONCURRENCY_MAX, POOL_OF_THE_SERVER, Stage

SERVICE = "volcengine-concurrent-tts"


class GatewayStack(Stack):
    """One gateway: an API and a queue with a function each, tables of pools and jobs, a bucket, a secret."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        super().__init__(scope, construct_id, description="Volcano Engine text-to-speech gateway")
        self._stage = stage
        self._keep()
        self._api_log, self._worker_log = self._kept_log("FunctionLog"), self._kept_log("WorkerLog")
        layers = Layers(self, "Layers", wheels=stage.wheels)
        self._api_function = DoorFunction(
            self,
            "ApiFunction",
            door=_api_door(stage),
            architecture=stage.architecture,
            environment={**self._environment(), "VOLCENGINE_TTS_DEAD_LETTERS": self._queue.dead_letters.queue_url},
            layers=layers.versions,
            log_group=self._api_log.group,
        )
        self._worker = DoorFunction(
            self,
            "WorkerFunction",
            door=_worker_door(stage),
            architecture=stage.architecture,
            environment={**self._environment(), "VOLCENGINE_TTS_SLICE_MS": str(stage.worker_slice_ms)},
            layers=layers.versions,
            log_group=self._worker_log.group,
        )
        self._feed = JobFeed(
            self,
            "JobFeed",
            queue=self._queue.queue,
            taker=self._worker.function,
            concurrency_max=stage.worker_concurrency_max,
        )
        self._lost_feed = JobFeed(
            self,
            "LostFeed",
            queue=self._queue.lost,
            taker=self._api_function.function,
            concurrency_max=LOST_CONCURRENCY_MAX,
        )
        self._api = HttpApi(
            self,
            "HttpApi",
            stage=stage,
            function=self._api_function.function,
            access_log=self._kept_log("AccessLog").group,
        )
        self._clients = PoolClientPolicy(self, "PoolClients", table=self._pools.table, pool=POOL_OF_THE_SERVER)
        self._grant()
        self._say()
        nag.acknowledge(
            account=self._account,
            functions=(self._api_function, self._worker),
            api=self._api,
            bucket=self._bucket,
        )

    def _keep(self) -> None:
        """Compose what keeps something."""
        stage = self._stage
        self._pools = PoolTable(self, "Pools", is_data_kept=stage.is_data_kept)
        self._account = AccountSecret(self, "Account", is_data_kept=stage.is_data_kept)
        self._jobs = JobTable(self, "Jobs", is_data_kept=stage.is_data_kept)
        self._bucket = SpeechBucket(
            self,
            "Speech",
            jobs_kept_days=stage.jobs_kept_days,
            speech_kept_days=stage.speech_kept_days,
            is_data_kept=stage.is_data_kept,
        )
        self._queue = JobQueue(
            self, "JobQueue", visibility_ms=stage.worker_visibility_ms, attempts_max=stage.worker_attempts_max
        )

    def _kept_log(self, construct_id: str) -> KeptLog:
        stage = self._stage
        return KeptLog(self, construct_id, retention_days=stage.log_retention_days, is_data_kept=stage.is_data_kept)

    def _environment(self) -> dict[str, str]:
        """Return what every door is told."""
        times = self._stage.pool_times
        environment = {
            "VOLCENGINE_TTS_SECRET_ID": self._account.secret.secret_arn,
            "VOLCENGINE_TTS_POOL_TABLE": self._pools.table.table_name,
            "VOLCENGINE_TTS_JOB_TABLE": self._jobs.table.table_name,
            "VOLCENGINE_TTS_BUCKET": self._bucket.bucket.bucket_name,
            "VOLCENGINE_TTS_JOB_QUEUE": self._queue.queue.queue_url,
            "VOLCENGINE_TTS_JOBS_KEPT_DAYS": str(self._stage.jobs_kept_days),
            "VOLCENGINE_TTS_SPEECH_KEPT_DAYS": str(self._stage.speech_kept_days),
            "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS": str(times.upstream_call_max_ms),
            "VOLCENGINE_TTS_SKEW_MS": str(times.skew_ms),
            "VOLCENGINE_TTS_SEND_MAX_MS": str(times.send_max_ms),
            "VOLCENGINE_TTS_RENEW_MS": str(times.renew_ms),
            "VOLCENGINE_TTS_LEASE_MS": str(times.lease_ms),
            "VOLCENGINE_TTS_CALLERS_CREDENTIALS": self._stage.callers_credentials,
            "VOLCENGINE_TTS_APP_WEIGHTS": json.dumps(dict(self._stage.app_weights), sort_keys=True),
            "VOLCENGINE_TTS_OPENAI_VOICES": json.dumps(dict(self._stage.openai_voices), sort_keys=True),
            "POWERTOOLS_SERVICE_NAME": SERVICE,
            "POWERTOOLS_LOG_LEVEL": self._stage.log_level,
            "POWERTOOLS_METRICS_NAMESPACE": SERVICE,
            # A response holds audio and an error may hold a caller's words: neither goes into a trace (I6).
            "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
            "POWERTOOLS_TRACER_CAPTURE_ERROR": "false",
        }
        if self._stage.upstream_endpoint:
            environment["VOLCENGINE_TTS_ENDPOINT"] = self._stage.upstream_endpoint
        if self._stage.callback_test_hosts:
            environment["VOLCENGINE_TTS_CALLBACK_TEST_HOSTS"] = ",".join(self._stage.callback_test_hosts)
        return environment

    def _grant(self) -> None:
        """Allow what the code calls, by action; traces are allowed by each function's tracing itself."""
        pools, queue = self._pools.table.table_arn, self._queue.queue.queue_arn
        taking = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        for door, log in ((self._api_function, self._api_log), (self._worker, self._worker_log)):
            _allow(door, ["logs:CreateLogStream", "logs:PutLogEvents"], log.group.log_group_arn)
            _allow(door, ["secretsmanager:GetSecretValue"], self._account.secret.secret_arn)
            _allow(door, ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], pools)
            self._grant_jobs(door)
        _allow(self._api_function, ["dynamodb:Scan"], pools)
        _allow(self._api_function, ["sqs:SendMessage"], queue, self._queue.dead_letters.queue_arn)
        _allow(self._api_function, taking, self._queue.lost.queue_arn)
        _allow(self._worker, [*taking, "sqs:SendMessage"], queue)

    def _grant_jobs(self, door: DoorFunction) -> None:
        _allow(door, ["dynamodb:GetItem", "dynamodb:PutItem"], self._jobs.table.table_arn)
        _allow(door, ["dynamodb:Query"], self._jobs.index_arn)
        _allow(door, ["s3:GetObject", "s3:PutObject"], *self._bucket.object_arns)
        # Without it S3 would answer that a missing object is forbidden. The condition also holds where no prefix is
        # asked for, since what S3 looks up by itself for that answer is not documented.
        _allow(
            door,
            ["s3:ListBucket"],
            self._bucket.bucket.bucket_arn,
            conditions={"StringLikeIfExists": {"s3:prefix": [f"{JOBS}*", f"{SPEECH}*"]}},
        )

    def _say(self) -> None:
        outputs = {
            "ApiUrl": self._api.url,
            "PoolTableName": self._pools.table.table_name,
            "SecretArn": self._account.secret.secret_arn,
            "PoolClientPolicyArn": self._clients.policy.managed_policy_arn,
            "JobTableName": self._jobs.table.table_name,
            "BucketName": self._bucket.bucket.bucket_name,
            "JobQueueUrl": self._queue.queue.queue_url,
            "LostQueueUrl": self._queue.lost.queue_url,
            "DeadLetterQueueUrl": self._queue.dead_letters.queue_url,
        }
        if self._api.domain_target:
            outputs["ApiDomainTarget"] = self._api.domain_target
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)


def _api_door(stage: Stage) -> Door:
    return Door(
        handler="api.handler.lambda_handler",
        description="Volcano Engine text-to-speech over a shared pool of slots",
        left_out=("worker",),
        timeout_ms=stage.function_timeout_ms,
        memory_mib=stage.memory_mib,
        reserved_concurrency=stage.reserved_concurrency,
    )


def _worker_door(stage: Stage) -> Door:
    return Door(
        handler="worker.handler.lambda_handler",
        description="Jobs of Volcano Engine text-to-speech, slice by slice",
        left_out=("api",),
        timeout_ms=stage.worker_timeout_ms,
        memory_mib=stage.worker_memory_mib,
    )


def _allow(
    door: DoorFunction, actions: Sequence[str], *resources: str, conditions: Mapping[str, object] | None = None
) -> None:
    door.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=list(resources), conditions=conditions))
