"""What a person may choose about the local stack; the only reader of the environment in this folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values

from infra.local.errors import LocalStackError
from infra.stages import TEST_HOST, is_safe_address
from volcengine_client.limits import CONCURRENCY_DEFAULT, CONCURRENCY_MAX

Stage = Literal["local", "test"]
STAGES: tuple[Stage, ...] = ("local", "test")

NAMES = frozenset(
    {
        "STAGE",
        "VOLCENGINE_TTS_ENDPOINT",
        "VOLCENGINE_TTS_APPID",
        "VOLCENGINE_TTS_ACCESS_KEY",
        "VOLCENGINE_TTS_API_KEY",
        "VOLCENGINE_TTS_CONCURRENCY",
        "VOLCENGINE_TTS_CALLBACK_TEST_HOSTS",
        "ADMIN_API_KEY",
        "LOCAL_AWS_PORT",
        "LOCAL_UPSTREAM_PORT",
    }
)
SIMULATED_APP_ID = "1234567890"
SIMULATED_ACCESS_KEY = "a-key-for-the-simulator"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One local stack.

    Attributes:
        stage: Which stage of the CDK app is deployed.
        endpoint: Base address of the upstream; None: the simulator is started and used.
        app_id: The account in the server's secret.
        access_key: The same account's key.
        api_key: The same account's API key; "": none.
        concurrency: The account's limit, which is the simulator's too.
        admin_key: The key of the gateway; None: the one that the deployment generates.
        callback_test_hosts: `host:port` of each on this machine to which callbacks may go, separated by commas.
        aws_port: Where the emulated AWS listens; None: where it listened last, or a free port.
        upstream_port: The same for the simulator.
    """

    stage: Stage = "local"
    endpoint: str | None = None
    app_id: str = SIMULATED_APP_ID
    access_key: str = field(default=SIMULATED_ACCESS_KEY, repr=False)
    api_key: str = field(default="", repr=False)
    concurrency: int = CONCURRENCY_DEFAULT
    admin_key: str | None = field(default=None, repr=False)
    callback_test_hosts: str = ""
    aws_port: int | None = None
    upstream_port: int | None = None

    @property
    def digest(self) -> str:
        """Return what is the same for the same settings and tells nothing of the keys in them."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def from_environment(env_file: Path) -> Settings:
    """Read the settings from the environment, and what is not there from *env_file*.

    Raises:
        LocalStackError: A value makes no sense.
    """
    return parsed({**dotenv_values(env_file), **os.environ})


def parsed(values: Mapping[str, str | None]) -> Settings:
    """Return the settings that *values* say; an empty value is as good as none.

    Raises:
        LocalStackError: A value makes no sense.
    """
    given = {name: value.strip() for name in NAMES if (value := values.get(name)) and value.strip()}
    endpoint = given.get("VOLCENGINE_TTS_ENDPOINT", "").rstrip("/") or None
    if endpoint is not None and not is_safe_address(endpoint):
        raise LocalStackError(
            f"VOLCENGINE_TTS_ENDPOINT is {endpoint!r}: expected https://HOST or http://127.0.0.1:PORT, without a path"
        )
    has_app_id, has_key = "VOLCENGINE_TTS_APPID" in given, "VOLCENGINE_TTS_ACCESS_KEY" in given
    if has_app_id != has_key:
        raise LocalStackError("VOLCENGINE_TTS_APPID and VOLCENGINE_TTS_ACCESS_KEY come together or not at all")
    is_key_alone = "VOLCENGINE_TTS_API_KEY" in given and not has_app_id
    return Settings(
        stage=_stage(given.get("STAGE", "local")),
        endpoint=endpoint,
        app_id=given.get("VOLCENGINE_TTS_APPID", "" if is_key_alone else SIMULATED_APP_ID),
        access_key=given.get("VOLCENGINE_TTS_ACCESS_KEY", "" if is_key_alone else SIMULATED_ACCESS_KEY),
        api_key=given.get("VOLCENGINE_TTS_API_KEY", ""),
        concurrency=_number(given, "VOLCENGINE_TTS_CONCURRENCY", CONCURRENCY_MAX) or CONCURRENCY_DEFAULT,
        admin_key=given.get("ADMIN_API_KEY"),
        callback_test_hosts=_test_hosts(given.get("VOLCENGINE_TTS_CALLBACK_TEST_HOSTS", "")),
        aws_port=_number(given, "LOCAL_AWS_PORT", 65_535),
        upstream_port=_number(given, "LOCAL_UPSTREAM_PORT", 65_535),
    )


def inherited() -> dict[str, str]:
    """Return a person's own environment, without the settings above and anything about a real AWS account."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in NAMES and not name.startswith(("AWS_", "CDK_", "VOLCENGINE_"))
    }


def _stage(name: str) -> Stage:
    for stage in STAGES:
        if name == stage:
            return stage
    raise LocalStackError(f"STAGE is {name!r}: the local stack has the stages {' and '.join(STAGES)}")


def _test_hosts(text: str) -> str:
    hosts = [host.strip().lower() for host in text.split(",") if host.strip()]
    if not all(map(TEST_HOST.fullmatch, hosts)):
        raise LocalStackError(
            f"VOLCENGINE_TTS_CALLBACK_TEST_HOSTS is {text!r}: expected HOST:PORT of each, separated by commas"
        )
    return ",".join(hosts)


def _number(given: Mapping[str, str], name: str, most: int) -> int | None:
    if name not in given:
        return None
    text = given[name]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise LocalStackError(f"{name} is {text!r}: expected a number from 1 to {most}")
    return int(text)
