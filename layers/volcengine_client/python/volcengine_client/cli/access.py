"""Who asks whom: credentials and addresses from options, the environment or `.env`, never from an argument."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values

from volcengine_client.client import SharedPool, VolcengineConcurrentTTS, setting
from volcengine_client.concurrency import Concurrency
from volcengine_client.concurrency import concurrency_of as concurrency_in
from volcengine_client.errors import InvalidRequestError
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.limits import CONCURRENCY_DEFAULT

GATEWAY = "VOLCENGINE_TTS_GATEWAY"

GatewayOption = Annotated[
    str | None, typer.Option("--gateway", help=f"The gateway's URL.  [env var: {GATEWAY}]", show_default=False)
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--admin-key-file",
        help="A file that holds the gateway's admin key and nothing else.  [instead: env var ADMIN_API_KEY, or .env]",
        show_default=False,
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="One of the gateway's accounts.", show_default="its main one")
]
AppOption = Annotated[str, typer.Option("--app", help="Whose share of the pool it takes from.")]


def settings_file() -> Mapping[str, str | None]:
    """Return what `.env` says; without interpolation, since a key may hold a dollar sign."""
    return dotenv_values(".env", interpolate=False)


def gateway_address(given: str | None) -> str | None:
    """Return the gateway's URL; None: there is none, so speak directly."""
    return given or setting(GATEWAY, settings_file())


def gateway_client(given: str | None, key_file: Path | None, account: str | None) -> GatewayClient:
    """Return the client of the gateway.

    Raises:
        InvalidRequestError: Nobody said where it is.
        OSError: The key's file can't be read.
    """
    address = gateway_address(given)
    if address is None:
        raise InvalidRequestError(f"which gateway? Give --gateway URL, or set {GATEWAY}")
    key = key_file.read_text("utf-8-sig").strip() if key_file else setting("ADMIN_API_KEY", settings_file())
    return GatewayClient(address, key, account=account)


def concurrency_of(given: int | None) -> Concurrency:
    """Return how many calls are made at once without a gateway.

    Raises:
        InvalidRequestError: The setting is no number, and no map of numbers.
    """
    text = setting("VOLCENGINE_TTS_CONCURRENCY", settings_file())
    if given is not None or text is None:
        return Concurrency(given or CONCURRENCY_DEFAULT)
    try:
        return concurrency_in(text)
    except ValueError as exc:
        raise InvalidRequestError(f"VOLCENGINE_TTS_CONCURRENCY should be {exc}") from exc


def direct_client(limits: Concurrency, pool: str | None, app: str) -> VolcengineConcurrentTTS:
    """Return a client that speaks without a gateway.

    Raises:
        CredentialsError, InvalidRequestError: Credentials are missing, or something is out of its range.
    """
    file = settings_file()
    return VolcengineConcurrentTTS(
        setting("VOLCENGINE_TTS_APPID", file),
        setting("VOLCENGINE_TTS_ACCESS_KEY", file),
        limits.as_map(),
        api_key=setting("VOLCENGINE_TTS_API_KEY", file),
        pool=SharedPool(pool) if pool else None,
        endpoint=setting("VOLCENGINE_TTS_ENDPOINT", file),
        app=app,
    )
