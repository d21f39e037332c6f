from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, CALLER_LOGIN, SERVER_LOGIN, keyring
from volcengine_client.errors import AdminKeyError, CredentialsError, InvalidRequestError
from volcengine_client.models import Credentials
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.login import Login
from volcengine_gateway.credentials import (
    Account,
    Payer,
    has_admin_key,
    naming_key_of,
    payer_of,
    require_admin_key,
)

KEYRING = keyring()
SECOND = Account("account:second", Login("3000000003", "another-access-key"), Limit(2, 7))


def own(login: Login = CALLER_LOGIN, concurrency: int | None = None) -> Credentials:
    return Credentials(
        volcengine_tts_appid=login.app_id,
        volcengine_tts_access_key=login.access_key,
        volcengine_tts_concurrency=concurrency,
    )


def wish(concurrency: int) -> Credentials:
    return Credentials(volcengine_tts_concurrency=concurrency)


def payer(**given: Any) -> Payer:
    return payer_of(
        given.pop("keys", KEYRING),
        policy=given.pop("policy", "anyone"),
        shown_admin_key=given.pop("shown", None),
        **given,
    )


def test_the_server_pays_for_those_with_the_admin_key() -> None:
    paid = payer(shown=ADMIN_KEY)

    assert paid == Payer(SERVER_LOGIN, "server", Limit(10, 1), 10, is_server=True)


@pytest.mark.parametrize(("wanted", "held"), [(3, 3), (10, 10), (500, 10)])
def test_a_wish_lowers_what_a_batch_holds_and_never_raises_the_limit(wanted: int, held: int) -> None:
    paid = payer(shown=ADMIN_KEY, credentials=wish(wanted))

    assert (paid.hold_max, paid.limit) == (held, Limit(10, 1))


def test_credentials_in_the_request_go_before_the_servers() -> None:
    paid = payer(shown=ADMIN_KEY, credentials=own())

    assert (paid.login, paid.is_server) == (CALLER_LOGIN, False)
    assert (paid.limit, paid.hold_max) == (Limit(10, 0), 10)
    assert re.fullmatch(r"caller-[0-9a-f]{32}", paid.pool)


def test_callers_state_their_own_limit() -> None:
    paid = payer(credentials=own(concurrency=25))

    assert (paid.limit, paid.hold_max) == (Limit(25, 0), 25)


def test_a_callers_pool_depends_on_both_halves_and_on_the_servers_key() -> None:
    logins = [CALLER_LOGIN, Login(CALLER_LOGIN.app_id, "guessed"), Login("1", "23"), Login("12", "3")]
    names = [payer(credentials=own(login)).pool for login in logins]
    names.append(payer(credentials=own(), keys=keyring(admin_key="another")).pool)

    assert len(set(names)) == 5
    assert payer(credentials=own()).pool == names[0]
    assert not any(CALLER_LOGIN.app_id in name or CALLER_LOGIN.access_key in name for name in names)


def test_without_an_admin_key_callers_pools_have_names_of_this_process_alone() -> None:
    assert naming_key_of(None) != naming_key_of(None)
    assert naming_key_of("key") == naming_key_of("key") != naming_key_of("another")


def test_who_brings_the_servers_own_login_is_counted_in_the_servers_pool() -> None:
    """Else one account would have two pools, and twice its limit."""
    keys = replace(KEYRING, accounts={"second": SECOND})

    paid = [payer(keys=keys, credentials=own(SERVER_LOGIN, 3)), payer(keys=keys, credentials=own(SECOND.login, 50))]

    assert [(one.pool, one.limit, one.hold_max) for one in paid] == [
        ("server", Limit(10, 1), 3),
        ("account:second", Limit(2, 7), 2),
    ]


def test_an_api_key_is_a_login_with_a_pool_of_its_own_name() -> None:
    key_alone = Credentials(volcengine_tts_api_key="the-key-of-the-console")
    names = {
        payer(credentials=key_alone).pool,
        payer(credentials=own()).pool,
        payer(credentials=own().model_copy(update={"volcengine_tts_api_key": "the-key-of-the-console"})).pool,
        payer(credentials=Credentials(volcengine_tts_api_key="another")).pool,
    }

    assert payer(credentials=key_alone).login == Login(api_key="the-key-of-the-console")
    assert len(names) == 4
    assert not any("console" in name for name in names)


def test_who_brings_a_part_that_proves_the_servers_account_is_counted_in_its_pool() -> None:
    main = Account("server", Login("1000000001", "server-key", "server-api-key"), Limit(10, 1))
    keys = replace(KEYRING, main=main)
    proven = [
        Credentials(volcengine_tts_api_key="server-api-key"),
        Credentials(volcengine_tts_appid="1000000001", volcengine_tts_access_key="server-key"),
    ]
    unproven = [
        Credentials(volcengine_tts_api_key="guessed"),
        Credentials(volcengine_tts_appid="1000000001", volcengine_tts_access_key="guessed"),
    ]

    assert [payer(keys=keys, credentials=one).pool for one in proven] == ["server", "server"]
    assert not any(payer(keys=keys, credentials=one).is_server for one in unproven)


def test_an_account_is_chosen_by_name() -> None:
    keys = replace(KEYRING, accounts={"second": SECOND})

    paid = payer(keys=keys, shown=ADMIN_KEY, account="second")

    assert paid == Payer(SECOND.login, "account:second", Limit(2, 7), 2, is_server=True)


@pytest.mark.parametrize("policy", ["anyone", "with_admin_key", "off"])
@pytest.mark.parametrize("credentials", [None, own(), wish(2)])
def test_a_wrong_admin_key_is_refused_always(policy: str, credentials: Credentials | None) -> None:
    with pytest.raises(AdminKeyError):
        payer(policy=policy, shown="wrong", credentials=credentials)


@pytest.mark.parametrize("shown", ["wrong", "", "the-admin-ke", "the-admin-key ", "schlüssel", "\ud800", "钥匙"])
def test_only_the_whole_key_is_right(shown: str) -> None:
    with pytest.raises(AdminKeyError):
        has_admin_key(KEYRING, shown)

    assert has_admin_key(KEYRING, ADMIN_KEY)
    assert not has_admin_key(KEYRING, None)


def test_the_servers_account_needs_the_admin_key_when_there_is_one() -> None:
    with pytest.raises(AdminKeyError):
        payer()

    assert payer(keys=keyring(admin_key=None)).login == SERVER_LOGIN
    assert payer(keys=keyring(admin_key=None), shown="any").login == SERVER_LOGIN


def test_callers_credentials_may_need_the_admin_key_or_be_refused() -> None:
    with pytest.raises(AdminKeyError):
        payer(policy="with_admin_key", credentials=own())
    with pytest.raises(CredentialsError):
        payer(policy="off", credentials=own(), shown=ADMIN_KEY)

    assert payer(policy="with_admin_key", credentials=own(), shown=ADMIN_KEY).login == CALLER_LOGIN


def test_nobodys_credentials_are_an_error() -> None:
    keys = keyring(login=None)

    for shown in (None, ADMIN_KEY):
        with pytest.raises(CredentialsError, match="Neither"):
            payer(keys=keys, shown=shown)

    assert payer(keys=keys, credentials=own()).login == CALLER_LOGIN


def test_a_server_with_named_accounts_only_wants_a_name() -> None:
    keys = replace(keyring(login=None), accounts={"second": SECOND})

    with pytest.raises(CredentialsError, match="no main account"):
        payer(keys=keys, shown=ADMIN_KEY)


@pytest.mark.parametrize("half", [{"volcengine_tts_appid": "1"}, {"volcengine_tts_access_key": "s3cret"}])
def test_half_a_pair_is_an_error_and_not_the_servers_turn(half: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match="belong together") as caught:
        payer(shown=ADMIN_KEY, credentials=Credentials(**half))

    assert "s3cret" not in str(caught.value)


def test_an_unknown_account_is_a_wrong_field_to_the_operator_and_a_secret_to_others() -> None:
    with pytest.raises(AdminKeyError):
        payer(account="second")
    with pytest.raises(InvalidRequestError) as caught:
        payer(account="second", shown=ADMIN_KEY)

    assert caught.value.details["fields"][0]["field"] == "account"


def test_an_account_and_credentials_contradict_each_other() -> None:
    with pytest.raises(InvalidRequestError, match="not both"):
        payer(account="second", shown=ADMIN_KEY, credentials=own())


def test_only_the_operator_passes_where_the_admin_key_is_required() -> None:
    for keys, shown in ((KEYRING, None), (KEYRING, "wrong"), (keyring(admin_key=None), "any")):
        with pytest.raises(AdminKeyError):
            require_admin_key(keys, shown)

    require_admin_key(KEYRING, ADMIN_KEY)


def test_no_secret_is_in_what_keys_look_like() -> None:
    seen = f"{KEYRING!r} {payer(shown=ADMIN_KEY)!r} {own()!r}"

    assert not any(secret in seen for secret in (ADMIN_KEY, SERVER_LOGIN.access_key, CALLER_LOGIN.access_key))
