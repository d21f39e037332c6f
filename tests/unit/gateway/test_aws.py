from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from volcengine_client.errors import SecretError
from volcengine_client.limits import REQUEST_DEADLINE_MS
from volcengine_gateway.aws import SECRET_ATTEMPTS, SECRET_CONNECT_MS, SECRET_READ_MS, SecretReader, secrets_client

CANARY = "canary-access"


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@pytest.mark.usefixtures("_aws")
def test_a_secret_comes_with_the_date_of_its_version() -> None:
    client = secrets_client()
    client.create_secret(Name="account", SecretString="first")
    first = SecretReader(client, "account")()
    client.put_secret_value(SecretId="account", SecretString=json.dumps({"a": 1}))

    second = SecretReader(client, "account")()

    assert (first.content, second.content) == ("first", '{"a": 1}')
    assert 1_600_000_000_000 < first.created_at_ms <= second.created_at_ms


@pytest.mark.usefixtures("_aws")
def test_a_missing_secret_is_told() -> None:
    with pytest.raises(SecretError) as caught:
        SecretReader(secrets_client(), "none")()

    assert caught.value.retryable
    assert caught.value.__cause__ is not None


@pytest.mark.usefixtures("_aws")
def test_a_binary_secret_is_not_json() -> None:
    client = secrets_client()
    client.create_secret(Name="account", SecretBinary=CANARY.encode())

    with pytest.raises(SecretError) as caught:
        SecretReader(client, "account")()

    assert CANARY not in str(caught.value)


def test_a_silent_endpoint_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quick = Config(read_timeout=0.05, retries={"total_max_attempts": 2, "mode": "standard"})
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = boto3.client("secretsmanager", region_name="us-east-1", endpoint_url=url, config=quick)

        with pytest.raises(SecretError):
            SecretReader(client, "account")()


def test_reading_a_secret_is_bounded_to_a_few_seconds() -> None:
    assert (SECRET_CONNECT_MS + SECRET_READ_MS) * SECRET_ATTEMPTS < REQUEST_DEADLINE_MS // 3
