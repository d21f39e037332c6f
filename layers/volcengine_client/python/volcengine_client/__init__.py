"""Volcano Engine text-to-speech within the account's limit: the client, and what the gateway is made of."""

from volcengine_client.client import SharedPool, VolcengineConcurrentTTS, create_client
from volcengine_client.errors import (
    CallerError,
    CapacityError,
    CredentialsError,
    InvalidRequestError,
    PoolError,
    UpstreamError,
    VolcengineError,
)
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import Estimate, Job, JobResult, PoolStatus
from volcengine_client.joined_files import join_files
from volcengine_client.limits import PoolTimes
from volcengine_client.models import TaskError, TaskItem, TaskResult
from volcengine_client.speech.chapters import Chapter
from volcengine_client.voice_list import Voice, voices
from volcengine_client.webhooks import verify

__version__ = "3.0.0"

__all__ = [
    "CallerError",
    "CapacityError",
    "Chapter",
    "CredentialsError",
    "Estimate",
    "GatewayClient",
    "InvalidRequestError",
    "Job",
    "JobResult",
    "PoolError",
    "PoolStatus",
    "PoolTimes",
    "SharedPool",
    "TaskError",
    "TaskItem",
    "TaskResult",
    "UpstreamError",
    "Voice",
    "VolcengineConcurrentTTS",
    "VolcengineError",
    "create_client",
    "join_files",
    "verify",
    "voices",
]
