"""The server's credentials: where they lie and how old they may get.

Nothing of a secret's content is in a message, a log or an error (I6).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from volcengine_client.clock import Clock
from volcengine_client.concurrency import Concurrency, concurrency_of
from volcengine_client.errors import SecretError
from volcengine_client.limits import (
    CREDENTIAL_CHARACTERS_MAX,
    SECRET_AGE_MAX_MS,
)
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.login import Login
from volcengine_gateway.age import Moment
from volcengine_gateway.credentials import SERVER_POOL, Account, Keyring, naming_key_of, pool_of, webhook_key_of
from volcengine_gateway.settings import APP, VISIBLE, ServerSettings

ACCOUNTS_MAX = 100
RETRY_AFTER_MS = 2_000


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """What the secret's store said.

    Attributes:
        content: The JSON text.
        created_at_ms: When this version was made, Unix time; the version of the limits in it.
    """

    content: str = field(repr=False)
    created_at_ms: int


class Keys(Protocol):
    """Where the server's keyring comes from."""

    async def keyring(self) -> Keyring:
        """Return the keyring.

        Raises:
            SecretError: It can't be read, or says nothing usable.
        """
        ...

    async def reread(self, doubted: Keyring) -> Keyring:
        """Return a keyring newer than *doubted*, whose login was rejected; the same if there is none.

        Raises:
            SecretError: As above.
        """
        ...


class FixedKeys:
    """A keyring that was given at the start."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @classmethod
    def of(cls, settings: ServerSettings) -> FixedKeys:
        """Take the keyring of the self-hosted server from its settings."""
        main = None
        if settings.app_id is not None or settings.api_key is not None:
            login = Login(settings.app_id or "", settings.access_key or "", settings.api_key or "")
            products = {product: Limit(limit, 0) for product, limit in settings.product_concurrency.items()}
            main = Account(SERVER_POOL, login, Limit(settings.concurrency, 0), products)
        naming_key = naming_key_of(settings.admin_key)
        webhook_key = settings.webhook_key.encode() if settings.webhook_key else webhook_key_of(naming_key)
        return cls(
            Keyring(admin_key=settings.admin_key, main=main, naming_key=naming_key, webhook_key=webhook_key),
        )

    async def keyring(self) -> Keyring:
        return self._keyring

    async def reread(self, doubted: Keyring) -> Keyring:
        assert doubted is self._keyring
        return self._keyring


class SecretKeys:
    """A keyring that lies in a secret, read again when it is older than `SECRET_AGE_MAX_MS`.

    One read at a time, however many wait for it. A failed read is not remembered: the next request tries again.

    Args:
        read: Returns the current version; may block, so it runs in a thread. Raises `SecretError`.
        clock: For the age.
    """

    def __init__(self, read: Callable[[], SecretVersion], *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._reading = asyncio.Lock()
        self._keyring: Keyring | None = None
        self._read_at: Moment | None = None

    async def keyring(self) -> Keyring:
        if self._keyring is not None and self._is_fresh():
            return self._keyring
        async with self._reading:
            if self._keyring is not None and self._is_fresh():  # somebody else has just read it
                return self._keyring
            return await self._read_now()

    async def reread(self, doubted: Keyring) -> Keyring:
        async with self._reading:
            if self._keyring is not None and self._keyring is not doubted:
                return self._keyring
            return await self._read_now()

    async def _read_now(self) -> Keyring:
        version = await asyncio.to_thread(self._read)
        self._keyring = parsed(version)
        self._read_at = Moment.now(self._clock)
        return self._keyring

    def _is_fresh(self) -> bool:
        return self._read_at is not None and self._read_at.is_within(SECRET_AGE_MAX_MS, self._clock)


def parsed(version: SecretVersion) -> Keyring:
    """Return the keyring that a secret's JSON says.

    An empty pair of `volcengine_tts_appid` and `volcengine_tts_access_key` means that the server has no main account,
    unless there is a `volcengine_tts_api_key`; beside one the pair may be left out.

    Raises:
        SecretError: It is not JSON, or a key is missing or of a wrong shape.
    """
    try:
        content = json.loads(version.content)
    except (ValueError, RecursionError):
        # The cause is left out: it quotes the content.
        raise SecretError("The gateway's secret is not JSON", retry_after_ms=RETRY_AFTER_MS) from None
    if not isinstance(content, dict):
        raise _malformed("a JSON object")
    admin_key = _text(content, "admin_api_key")
    if not admin_key:
        raise _malformed("admin_api_key")
    accounts = content.get("accounts") or {}
    if not isinstance(accounts, dict) or len(accounts) > ACCOUNTS_MAX or not all(map(APP.fullmatch, accounts)):
        raise _malformed(f"accounts: an object of at most {ACCOUNTS_MAX} short names")
    naming_key = naming_key_of(_optional(content, "pool_naming_key") or admin_key)
    webhook_key = _optional(content, "webhook_key")
    return Keyring(
        admin_key=admin_key,
        main=_account(content, SERVER_POOL, version.created_at_ms),
        accounts={
            name: account
            for name, said in accounts.items()
            if (account := _account(said, pool_of(name), version.created_at_ms))
        },
        naming_key=naming_key,
        webhook_key=webhook_key.encode() if webhook_key else webhook_key_of(naming_key),
    )


def _account(said: Any, pool: str, created_at_ms: int) -> Account | None:
    if not isinstance(said, dict):
        raise _malformed("accounts: an object for each name")
    api_key = _optional(said, "volcengine_tts_api_key")
    read = _optional if api_key else _text
    app_id, access_key = read(said, "volcengine_tts_appid"), read(said, "volcengine_tts_access_key")
    if bool(app_id) != bool(access_key):
        raise _malformed("volcengine_tts_appid and volcengine_tts_access_key together")
    if not app_id and not api_key:
        return None
    limits = _limits(said)
    products = {product: Limit(limit, created_at_ms) for product, limit in limits.by_product.items()}
    return Account(pool, Login(app_id, access_key, api_key), Limit(limits.usual, created_at_ms), products)


def _text(said: Mapping[str, Any], key: str) -> str:
    """Return what stands under *key*, "" included."""
    value = said.get(key)
    text = value.strip() if isinstance(value, str) else None
    if text is None or len(text) > CREDENTIAL_CHARACTERS_MAX or (text and not VISIBLE.fullmatch(text)):
        raise _malformed(f"{key}: visible ASCII characters without spaces")
    return text


def _optional(said: Mapping[str, Any], key: str) -> str:
    """Return what stands under *key*, "" when nothing does."""
    return _text(said, key) if said.get(key) else ""


def _limits(said: Mapping[str, Any]) -> Concurrency:
    """Return the account's limits; the console of Secrets Manager writes numbers as text."""
    value = said.get("volcengine_tts_concurrency")
    if value is None or value == "":  # the wish for the default
        return Concurrency()
    try:
        return concurrency_of(value)
    except ValueError as exc:
        raise _malformed(f"volcengine_tts_concurrency: {exc}") from None  # no cause, as above


def _malformed(wanted: str) -> SecretError:
    return SecretError(f"The gateway's secret should hold {wanted}", retry_after_ms=RETRY_AFTER_MS)
