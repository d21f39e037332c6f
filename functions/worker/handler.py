"""Lambda's door for SQS: a message says which job to work on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from volcengine_client.clock import SystemClock
from volcengine_gateway.aws import SecretReader, dynamodb_table, secrets_client
from volcengine_gateway.jobs.aws import store_of
from volcengine_gateway.powertools_journal import PowertoolsJournal
from volcengine_gateway.secret import SecretKeys
from volcengine_gateway.settings import worker_settings
from volcengine_gateway.wiring import Deliveries, errands_of

# At their lowest level these write what AWS answers, the secret included (I6).
for library in ("boto3", "botocore", "urllib3"):
    logging.getLogger(library).setLevel(logging.INFO)

# Built while Lambda initialises, and used by every invocation of this process.
settings = worker_settings()
clock = SystemClock()
logger = Logger()
metrics = Metrics()
tracer = Tracer(auto_patch=False)  # its patches look for a segment in threads that have none
journal = PowertoolsJournal(logger, metrics, tracer)
errands = errands_of(
    settings,
    store_of(settings.jobs, clock=clock),
    keys=SecretKeys(SecretReader(secrets_client(), settings.secret_id), clock=clock),
    table=dynamodb_table(settings.pool_table, clock=clock),
    clock=clock,
    journal=journal,
)
deliveries = Deliveries(errands, asyncio.new_event_loop(), slice_ms=settings.slice_ms, journal=journal)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Work on the jobs of some messages; say which messages should come again."""
    return deliveries.work(event, context)
