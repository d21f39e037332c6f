"""Who pays for a batch: whose login speaks it, and in whose pool. Pure.

A request's own credentials go before the server's; the server's need the admin key whenever there is one. The pool
of a server's account has a fixed name, so that rotating a key never makes a second pool. Everyone else's has a
keyed hash of the whole login for its name, so that nobody occupies another's slots by naming its app id.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from volcengine_client.errors import AdminKeyError, CredentialsError, InvalidRequestError
from volcengine_client.limits import CONCURRENCY_DEFAULT
from volcengine_client.models import Credentials
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.login import Login
from volcengine_gateway.settings import CallersCredentials

SERVER_POOL = "server"
ACCOUNT_POOL = "account:"  # and the account's name
CALLERS_POOL = "caller-"  # and the keyed hash
HASH_CHARACTERS = 32
API_KEY_MARK = b"\xff\xff\xff\xff"  # where the length of an app id stands otherwise, which is never so large
NAMING_PURPOSE = b"volcengine-concurrent-tts: names of callers' pools, 1"
WEBHOOK_PURPOSE = b"volcengine-concurrent-tts: signatures of callbacks, 1"


def pool_of(account: str) -> str:
    """Return the pool of one of the server's accounts by its name."""
    return ACCOUNT_POOL + account


@dataclass(frozen=True, slots=True)
class Account:
    """One of the server's accounts with the upstream.

    Attributes:
        pool: Its name.
        login: What the upstream is told.
        limit: Of all products without one of their own.
        products: The limits of those that have, which are pools of their own, by name.
    """

    pool: str
    login: Login
    limit: Limit
    products: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """What the server knows of keys.

    Attributes:
        admin_key: What callers must show to use an account of the server; None: nothing.
        main: The account of those who name none; None when only callers bring credentials.
        accounts: Further accounts by name.
        naming_key: The key of the hash that names callers' pools.
        webhook_key: The key of the signatures of callbacks: visible ASCII, since receivers are told it.
    """

    admin_key: str | None = field(default=None, repr=False)
    main: Account | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    naming_key: bytes = field(repr=False)
    webhook_key: bytes = field(repr=False)

    def all_accounts(self) -> list[Account]:
        """Return every account of the server."""
        return [*([self.main] if self.main else []), *self.accounts.values()]


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a batch.

    Attributes:
        login: What the upstream is told.
        pool: The name of the pool that the login's calls are counted in.
        limit: The account's limit.
        hold_max: Slots that the batch may hold at most.
        is_server: Whether the login is one of the server's.
        products: The limits of products that have pools of their own.
        wish: Slots that the batch wants to hold at most in each pool; None: all.
    """

    login: Login
    pool: str
    limit: Limit
    hold_max: int
    is_server: bool
    products: Mapping[str, Limit] = field(default_factory=dict)
    wish: int | None = None


def naming_key_of(admin_key: str | None) -> bytes:
    """Return the key of the hash that names callers' pools.

    It follows from the admin key, so that every process names them alike. Without one it is random: then callers'
    pools are this process's own.
    """
    if admin_key is None:
        return secrets.token_bytes(32)
    return hmac.digest(admin_key.encode(), NAMING_PURPOSE, "sha256")


def webhook_key_of(naming_key: bytes) -> bytes:
    """Return the key of the signatures of callbacks when the operator has chosen none: 64 hexadecimal digits."""
    return hmac.new(naming_key, WEBHOOK_PURPOSE, sha256).hexdigest().encode()


def has_admin_key(keyring: Keyring, shown: str | None) -> bool:
    """Tell whether the right admin key was shown.

    Raises:
        AdminKeyError: A wrong one was.
    """
    if shown is None or keyring.admin_key is None:
        return False
    if not _is_same(shown, keyring.admin_key):
        raise AdminKeyError("The Admin-API-Key is wrong")
    return True


def require_admin_key(keyring: Keyring, shown: str | None) -> None:
    """Let only the operator pass.

    Raises:
        AdminKeyError: The admin key is missing or wrong, or the server has none.
    """
    if not has_admin_key(keyring, shown):
        raise AdminKeyError(
            "Show the Admin-API-Key header" if keyring.admin_key else "This server has no admin key; set ADMIN_API_KEY"
        )


def payer_of(
    keyring: Keyring,
    *,
    policy: CallersCredentials,
    shown_admin_key: str | None,
    credentials: Credentials | None = None,
    account: str | None = None,
) -> Payer:
    """Decide who pays.

    Args:
        keyring: What the server knows.
        policy: Who may bring credentials.
        shown_admin_key: The `Admin-API-Key` of the request; None when there was none.
        credentials: Those in the request.
        account: The name of one of the server's accounts.

    Raises:
        AdminKeyError: The admin key is wrong, always; or missing where it is needed.
        CredentialsError: A half pair, none at all, or some where none are taken.
        InvalidRequestError: No account has that name.
    """
    is_operator = has_admin_key(keyring, shown_admin_key)
    login = login_in(credentials)
    wish = credentials.volcengine_tts_concurrency if credentials else None
    if login is None:
        return _as_server(_server_account(keyring, account, is_operator=is_operator), wish)
    if account is not None:
        raise _account_error("Give an account of the server or credentials, not both")
    if policy == "off":
        raise CredentialsError("This gateway takes no credentials in requests; leave them out")
    if policy == "with_admin_key" and not is_operator:
        raise AdminKeyError("Credentials in a request need the Admin-API-Key header here")
    for own in keyring.all_accounts():
        if _is_same_login(own.login, login):
            return _as_server(own, wish)
    return _as_caller(keyring, login, wish or CONCURRENCY_DEFAULT)


def login_in(credentials: Credentials | None) -> Login | None:
    """Return the login in a request; None when it has none.

    Raises:
        CredentialsError: Only one half of it is there.
    """
    app_id = credentials.volcengine_tts_appid if credentials else None
    access_key = credentials.volcengine_tts_access_key if credentials else None
    api_key = credentials.volcengine_tts_api_key if credentials else None
    if bool(app_id) != bool(access_key):
        raise CredentialsError("volcengine_tts_appid and volcengine_tts_access_key belong together: give both or none")
    return Login(app_id or "", access_key or "", api_key or "") if app_id or api_key else None


def _server_account(keyring: Keyring, name: str | None, *, is_operator: bool) -> Account:
    """Return the account of the server's that pays; the admin key comes before any answer about accounts."""
    if not keyring.all_accounts():
        raise CredentialsError("Neither the request nor this gateway has credentials; give credentials")
    if keyring.admin_key is not None and not is_operator:
        raise AdminKeyError("Show the Admin-API-Key header, or give credentials of your own")
    if name is not None and name not in keyring.accounts:
        raise _account_error("No account has this name")
    account = keyring.main if name is None else keyring.accounts[name]
    if account is None:
        raise CredentialsError("This gateway has no main account; name one of its accounts, or give credentials")
    return account


def _as_server(account: Account, wish: int | None) -> Payer:
    """Let the server's account pay; a wish may lower what the batch holds, never raise the limit."""
    hold_max = min(wish or account.limit.n, account.limit.n)
    return Payer(
        account.login,
        account.pool,
        account.limit,
        hold_max,
        is_server=True,
        products=account.products,
        wish=wish,
    )


def _as_caller(keyring: Keyring, login: Login, concurrency: int) -> Payer:
    named = hmac.new(keyring.naming_key, _spelled(login), sha256)
    pool = CALLERS_POOL + named.hexdigest()[:HASH_CHARACTERS]
    return Payer(login, pool, Limit(concurrency, 0), concurrency, is_server=False)


def _spelled(login: Login) -> bytes:
    """Return bytes that no other login gives: the lengths go first, a missing pair's is none of an app id."""
    app_id, access_key, api_key = login.app_id.encode(), login.access_key.encode(), login.api_key.encode()
    pair = len(app_id).to_bytes(4, "big") + app_id + access_key
    return API_KEY_MARK + len(api_key).to_bytes(4, "big") + api_key + pair if api_key else pair


def _is_same_login(shown: Login, known: Login) -> bool:
    """Tell whether two logins share a part that proves an account: its API key, or the pair."""
    has_pair = bool(shown.app_id) and _is_same(shown.app_id, known.app_id)
    return (has_pair and _is_same(shown.access_key, known.access_key)) or (
        bool(shown.api_key) and _is_same(shown.api_key, known.api_key)
    )


def _account_error(message: str) -> InvalidRequestError:
    return InvalidRequestError.of_field("account", message)


def _is_same(shown: str, known: str) -> bool:
    """Compare in constant time; bytes, since text outside of ASCII is refused."""
    return hmac.compare_digest(shown.encode(errors="surrogatepass"), known.encode(errors="surrogatepass"))
