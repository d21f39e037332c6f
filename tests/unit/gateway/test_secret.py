from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY
from volcengine_client.errors import SecretError
from volcengine_client.limits import SECRET_AGE_MAX_MS
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.login import Login
from volcengine_gateway.secret import FixedKeys, SecretKeys, SecretVersion, parsed
from volcengine_gateway.settings import server_settings

CREATED_AT_MS = 1_700_000_000_123
WHOLE: dict[str, Any] = {
    "volcengine_tts_appid": "1000000001",
    "volcengine_tts_access_key": "canary-access",
    "volcengine_tts_concurrency": 7,
    "admin_api_key": "canary-admin",
}


class HandClock:
    """Two clocks that a test turns by hand."""

    def __init__(self) -> None:
        self.at_ms = 0
        self.lead_ms = 0

    def monotonic_ms(self) -> int:
        return self.at_ms

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.at_ms + self.lead_ms

    async def sleep(self, duration_ms: int) -> None:
        self.at_ms += duration_ms


class Shelf:
    """A place for a secret, that counts how often it is read."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.read_count = 0
        self.error: SecretError | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self) -> SecretVersion:
        self.read_count += 1
        assert self.may_answer.wait(5)
        if self.error is not None:
            raise self.error
        return SecretVersion(self.content, CREATED_AT_MS + self.read_count)


def said(**instead: Any) -> SecretVersion:
    content = {name: value for name, value in (WHOLE | instead).items() if value is not ...}
    return SecretVersion(json.dumps(content), CREATED_AT_MS)


def test_a_whole_secret_is_a_keyring() -> None:
    keyring = parsed(said())

    assert keyring.admin_key == "canary-admin"
    assert keyring.main is not None
    assert (keyring.main.pool, keyring.main.login.app_id, keyring.main.limit) == (
        "server",
        "1000000001",
        Limit(7, CREATED_AT_MS),
    )


def test_accounts_have_pools_named_after_them_whatever_their_keys() -> None:
    second = {"volcengine_tts_appid": "2", "volcengine_tts_access_key": "k"}

    accounts = parsed(
        said(
            accounts={
                "second": second,
                "unused": {**second, "volcengine_tts_appid": "", "volcengine_tts_access_key": ""},
            }
        )
    ).accounts

    assert {name: (account.pool, account.limit) for name, account in accounts.items()} == {
        "second": ("account:second", Limit(10, CREATED_AT_MS))
    }


@pytest.mark.parametrize(("given", "limit"), [(7, 7), ("7", 7), (..., 10), ("", 10), (None, 10), (1_000, 1_000)])
def test_the_limit_may_be_text_or_missing(given: Any, limit: int) -> None:
    main = parsed(said(volcengine_tts_concurrency=given)).main

    assert main is not None
    assert main.limit.n == limit


@pytest.mark.parametrize("as_text", [True, False])
def test_products_may_have_limits_of_their_own(*, as_text: bool) -> None:
    given = {"seed-tts-2.0": 20, "volc.service_type.10029": "4", "default": 6}
    main = parsed(said(volcengine_tts_concurrency=json.dumps(given) if as_text else given)).main

    assert main is not None
    assert main.limit == Limit(6, CREATED_AT_MS)
    assert main.products == {"seed-tts-2.0": Limit(20, CREATED_AT_MS), "seed-tts-1.0": Limit(4, CREATED_AT_MS)}


def test_an_account_that_is_not_filled_in_yet_is_none() -> None:
    assert parsed(said(volcengine_tts_appid="", volcengine_tts_access_key="")).main is None


def test_an_account_may_have_an_api_key_alone_or_beside_the_pair() -> None:
    alone = {"volcengine_tts_api_key": "canary-api", "admin_api_key": "canary-admin"}
    keyrings = [
        parsed(SecretVersion(json.dumps(content), CREATED_AT_MS))
        for content in (
            alone,
            alone | {"volcengine_tts_appid": "", "volcengine_tts_access_key": ""},
            WHOLE | alone,
            WHOLE | {"volcengine_tts_api_key": ""},
        )
    ]

    assert [keyring.main.login if keyring.main else None for keyring in keyrings] == [
        Login(api_key="canary-api"),
        Login(api_key="canary-api"),
        Login("1000000001", "canary-access", "canary-api"),
        Login("1000000001", "canary-access"),
    ]
    assert not any("canary" in repr(keyring) for keyring in keyrings)


def test_callers_pools_keep_their_names_over_a_new_admin_key_when_told_so() -> None:
    keyrings = [parsed(said(admin_api_key=key, pool_naming_key="naming")) for key in ("one", "two")]

    assert keyrings[0].naming_key == keyrings[1].naming_key != parsed(said(admin_api_key="one")).naming_key


@pytest.mark.parametrize(
    "version",
    [
        SecretVersion("canary-access", 0),
        SecretVersion("", 0),
        SecretVersion("[" * 100_000, 0),
        SecretVersion('["canary-access"]', 0),
        SecretVersion("{}", 0),
        said(admin_api_key=...),
        said(admin_api_key=""),
        said(admin_api_key=None),
        said(admin_api_key="canary with spaces"),
        said(volcengine_tts_appid=...),
        said(volcengine_tts_access_key=...),
        said(volcengine_tts_appid=""),
        said(volcengine_tts_access_key=""),
        said(volcengine_tts_access_key=["canary-access"]),
        said(volcengine_tts_appid="canary\naccess"),
        said(volcengine_tts_access_key="canary" * 50),
        said(volcengine_tts_concurrency=0),
        said(volcengine_tts_concurrency=1_001),
        said(volcengine_tts_concurrency=True),
        said(volcengine_tts_concurrency="canary"),
        said(volcengine_tts_concurrency=2.5),
        said(volcengine_tts_concurrency={"canary": 0}),
        said(volcengine_tts_concurrency='{"canary": }'),
        said(accounts=["canary"]),
        said(accounts={"second": "canary"}),
        said(accounts={"a name with canary": WHOLE}),
        said(accounts={f"a{index}": WHOLE for index in range(101)}),
        said(accounts={"second": {"volcengine_tts_appid": "2"}}),
    ],
)
def test_a_secret_without_what_is_needed_is_told_without_its_content(version: SecretVersion) -> None:
    with pytest.raises(SecretError) as caught:
        parsed(version)

    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.retry_after_ms
    assert "canary" not in repr(version)


async def test_a_secret_is_read_once_within_its_age() -> None:
    clock, shelf = HandClock(), Shelf(json.dumps(WHOLE))
    keys = SecretKeys(shelf, clock=clock)

    first = await keys.keyring()
    clock.at_ms = SECRET_AGE_MAX_MS - 1
    again = await keys.keyring()
    clock.at_ms = SECRET_AGE_MAX_MS
    later = await keys.keyring()

    assert first is again
    assert first is not later
    assert shelf.read_count == 2


@pytest.mark.parametrize("lead_ms", [SECRET_AGE_MAX_MS, -1])
async def test_a_process_that_was_frozen_reads_the_secret_again(lead_ms: int) -> None:
    clock, shelf = HandClock(), Shelf(json.dumps(WHOLE))
    keys = SecretKeys(shelf, clock=clock)
    await keys.keyring()

    clock.lead_ms = lead_ms
    await keys.keyring()

    assert shelf.read_count == 2


async def test_all_who_wait_share_one_read() -> None:
    shelf = Shelf(json.dumps(WHOLE))
    shelf.may_answer.clear()
    keys = SecretKeys(shelf, clock=HandClock())

    waiting = [asyncio.create_task(keys.keyring()) for _ in range(20)]
    await asyncio.sleep(0)
    shelf.may_answer.set()
    keyrings = await asyncio.gather(*waiting)

    assert shelf.read_count == 1
    assert len({id(keyring) for keyring in keyrings}) == 1


async def test_a_failed_read_is_not_remembered() -> None:
    shelf = Shelf(json.dumps(WHOLE))
    shelf.error = SecretError("out of reach")
    keys = SecretKeys(shelf, clock=HandClock())

    with pytest.raises(SecretError):
        await keys.keyring()
    shelf.error = None

    assert (await keys.keyring()).admin_key == "canary-admin"
    assert shelf.read_count == 2


async def test_a_doubted_keyring_is_read_again_once_however_many_doubt_it() -> None:
    shelf = Shelf(json.dumps(WHOLE))
    keys = SecretKeys(shelf, clock=HandClock())
    doubted = await keys.keyring()

    renewed = await asyncio.gather(*(keys.reread(doubted) for _ in range(5)))

    assert shelf.read_count == 2
    assert {id(keyring) for keyring in renewed} == {id(await keys.keyring())}


async def test_a_server_may_have_limits_by_product() -> None:
    given = {"VOLCENGINE_TTS_API_KEY": "k", "VOLCENGINE_TTS_CONCURRENCY": '{"seed-tts-2.0": 5}', "ADMIN_API_KEY": "k"}
    main = (await FixedKeys.of(server_settings({}, given)).keyring()).main

    assert main is not None
    assert (main.limit, main.products) == (Limit(10, 0), {"seed-tts-2.0": Limit(5, 0)})


async def test_a_server_may_have_an_api_key_alone() -> None:
    settings = server_settings({}, {"VOLCENGINE_TTS_API_KEY": "canary-api", "ADMIN_API_KEY": "k"})
    main = (await FixedKeys.of(settings).keyring()).main

    assert main is not None
    assert main.login == Login(api_key="canary-api")
    assert "canary" not in repr(settings)


async def test_a_server_has_the_keys_of_its_settings() -> None:
    settings = server_settings(
        environment={
            "VOLCENGINE_TTS_APPID": "1",
            "VOLCENGINE_TTS_ACCESS_KEY": "k",
            "VOLCENGINE_TTS_CONCURRENCY": "4",
            "ADMIN_API_KEY": ADMIN_KEY,
        }
    )

    keys = FixedKeys.of(settings)
    keyring = await keys.keyring()

    assert keyring.admin_key == ADMIN_KEY
    assert keyring.main is not None
    assert (keyring.main.pool, keyring.main.limit) == ("server", Limit(4, 0))
    assert await keys.reread(keyring) is keyring


def test_callbacks_are_signed_by_the_key_of_the_secret_or_by_one_that_follows_from_the_naming_key() -> None:
    derived, again = parsed(said()).webhook_key, parsed(said(webhook_key="")).webhook_key
    other = parsed(said(pool_naming_key="naming")).webhook_key

    assert parsed(said(webhook_key=" the-operators-own ")).webhook_key == b"the-operators-own"
    assert derived == again != other
    assert re.fullmatch(rb"[0-9a-f]{64}", derived)
    assert derived not in {b"canary-admin", parsed(said()).naming_key, parsed(said()).naming_key.hex().encode()}


@pytest.mark.parametrize("webhook_key", [7, "two words", "a" * 257, "schlüssel", ["a"], {"a": "b"}])
def test_a_webhook_key_is_visible_ascii(webhook_key: Any) -> None:
    with pytest.raises(SecretError, match="webhook_key") as refusal:
        parsed(said(webhook_key=webhook_key))

    assert str(webhook_key) not in str(refusal.value)


def test_the_self_hosted_server_signs_by_its_setting_or_by_what_follows_from_its_admin_key() -> None:
    async def key(**environment: str) -> bytes:
        return (await FixedKeys.of(server_settings(environment=environment)).keyring()).webhook_key

    async def keys() -> list[bytes]:
        chosen = await key(VOLCENGINE_TTS_WEBHOOK_KEY="own", ADMIN_API_KEY="a")
        return [chosen, await key(ADMIN_API_KEY="a"), await key(ADMIN_API_KEY="a"), await key(), await key()]

    chosen, first, second, unkeyed, other = asyncio.run(keys())

    assert chosen == b"own"
    assert first == second
    assert len({chosen, first, unkeyed, other}) == 4


def test_no_key_of_callbacks_is_in_what_a_keyring_looks_like() -> None:
    keyring = parsed(said(webhook_key="canary-webhook"))

    assert "canary" not in repr(keyring)
    assert "naming" not in repr(keyring)
