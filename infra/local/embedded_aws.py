"""The emulated AWS: how it is started, and clients for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra.local.places import LOOPBACK, Places, make_private, read, write_private
from infra.local.processes import Daemon

ACCOUNT = "000000000000"
REGION = "us-east-1"
# The emulator takes any key; the SDKs want one.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


def endpoint(port: int) -> str:
    """Return the address for SDKs."""
    return f"http://{LOOPBACK}:{port}"


def launch(places: Places, *, stage: str, port: int) -> Daemon:
    """Start the emulator with what it remembers of *stage*; it answers a little later.

    It sees an environment of its own, since all of it is handed on to the functions.
    """
    make_private(places.scratch)
    forget_other_port(places.emulated(stage), port)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(places.scratch),
        "TMPDIR": str(places.scratch),
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",  # written down at the end, all at once: a killed emulator forgets what was new, whole
        "STATE_DIR": str(places.emulated(stage)),
        "PYTHONDONTWRITEBYTECODE": "1",  # as in Lambda, where a function's code lies in folders that can't be written
        "SFTP_ENABLED": "0",  # it would listen on every interface
        "IOT_MTLS_ENABLED": "0",  # the same
    }
    return Daemon.start("aws", [sys.executable, "-m", "ministack"], environment=environment, log=places.log("aws"))


def forget_other_port(memory: Path, port: int) -> None:
    """Forget what was remembered at another port: it is part of the queues' names, and they would feed no function."""
    file = memory / "port"
    if read(file) != port:
        shutil.rmtree(memory, ignore_errors=True)
        write_private(file, port)


def health_url(port: int) -> str:
    """Return the address that answers 200 as soon as the emulator is ready."""
    return f"{endpoint(port)}/_ministack/health"


def client(service: str, endpoint_url: str) -> Any:
    """Return a boto3 client of *service*, which fails soon rather than retry."""
    config = Config(connect_timeout=2, read_timeout=60, retries={"max_attempts": 1})
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )
