"""What the gateway has of AWS; only imported where a secret or a table is configured, since it needs boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from volcengine_client.clock import Clock
from volcengine_client.errors import SecretError
from volcengine_client.pool.dynamodb import DynamoDBTable, pool_client
from volcengine_gateway.secret import RETRY_AFTER_MS, SecretVersion
from volcengine_gateway.settings import SettingsError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SECRET_CONNECT_MS = 1_000
SECRET_READ_MS = 2_000
SECRET_ATTEMPTS = 2


def secrets_client() -> SecretsManagerClient:
    """Return a client whose calls end within seconds, whatever happens."""
    return boto3.client(
        "secretsmanager",
        config=Config(
            connect_timeout=SECRET_CONNECT_MS / 1_000,
            read_timeout=SECRET_READ_MS / 1_000,
            retries={"mode": "standard", "total_max_attempts": SECRET_ATTEMPTS},
        ),
    )


def dynamodb_table(name: str, *, clock: Clock) -> DynamoDBTable:
    """Return the table *name* of pools.

    Raises:
        SettingsError: There is no region, or something else that AWS needs.
    """
    try:
        return DynamoDBTable(name, client=pool_client(), clock=clock)
    except BotoCoreError as exc:
        raise SettingsError(f"VOLCENGINE_TTS_POOL_TABLE needs what AWS needs: {exc}") from exc


class SecretReader:
    """Reads the current version of one secret; blocks, so it runs in a thread."""

    def __init__(self, client: SecretsManagerClient, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id

    def __call__(self) -> SecretVersion:
        """Return what the secret holds now.

        Raises:
            SecretError: It is missing or out of reach, or is no text.
        """
        try:
            answer = self._client.get_secret_value(SecretId=self._secret_id)
        except (ClientError, BotoCoreError) as exc:
            raise SecretError("The gateway's secret can't be read now", retry_after_ms=RETRY_AFTER_MS) from exc
        content = answer.get("SecretString")
        if content is None:
            raise SecretError("The gateway's secret is not JSON", retry_after_ms=RETRY_AFTER_MS)
        return SecretVersion(content, int(answer["CreatedDate"].timestamp() * 1_000))
