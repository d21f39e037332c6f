"""Lambda's door for API Gateway's HTTP API."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from volcengine_client.clock import SystemClock
from volcengine_gateway.aws import SecretReader, dynamodb_table, secrets_client
from volcengine_gateway.jobs.aws import store_of
from volcengine_gateway.jobs.lost import LostJobs
from volcengine_gateway.powertools_journal import PowertoolsJournal
from volcengine_gateway.secret import SecretKeys
from volcengine_gateway.settings import function_settings
from volcengine_gateway.wiring import Invocations, gateway_of, jobs_of

# At their lowest level these write what AWS answers, the secret included (I6).
for library in ("boto3", "botocore", "urllib3"):
    logging.getLogger(library).setLevel(logging.INFO)

# Built while Lambda initialises, and used by every invocation of this process.
settings = function_settings()
clock = SystemClock()
logger = Logger()
metrics = Metrics()
tracer = Tracer(auto_patch=False)  # its patches look for a segment in threads that have none
store = store_of(settings.jobs, clock=clock) if settings.jobs else None
gateway = gateway_of(
    settings,
    keys=SecretKeys(SecretReader(secrets_client(), settings.secret_id), clock=clock),
    table=dynamodb_table(settings.pool_table, clock=clock),
    clock=clock,
    journal=PowertoolsJournal(logger, metrics, tracer),
    jobs=jobs_of(store, settings.jobs, clock=clock, callback_test_hosts=settings.callback_test_hosts)
    if store and settings.jobs
    else None,
)
lost = LostJobs(store, clock=clock) if store else None
invocations = Invocations(gateway, asyncio.new_event_loop(), lost=lost)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request, or take messages that no worker came through with."""
    return invocations.answer(event, context)
