"""The way to those who want to be called back: one POST, to an IP address that was checked, and to no other.

A name may stand for one address when it is looked at and for another a moment later. So it is looked up once a try,
all that it stands for is checked, and the connection goes to one of the very addresses that were.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import CALLBACK_RESOLVE_MAX_MS, CALLBACK_SEND_MAX_MS
from volcengine_gateway.jobs.address import ELSEWHERE, Address, address_of, refused
from volcengine_gateway.jobs.job import Verdict

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

UNFOUND = "should name a host that can be found"
ADDRESSES_MAX = 32  # that one name may stand for


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one try.

    Attributes:
        verdict: `missed` is worth another try, `gone` is not.
        reason: For the operator: the status of HTTP, or what was in the way; nothing that a receiver wrote.
    """

    verdict: Verdict
    reason: str


class Receivers:
    """Where callbacks go.

    Follows no redirect, keeps no cookie, reads neither proxies nor credentials from the environment, and reads of an
    answer no more than its status. Each try has a connection of its own.

    Args:
        test_hosts: `host:port` of each that may have plain http and addresses of this machine.
        resolve: Looks up the IP addresses of a name; raises `OSError`.
        trust: Whom to trust; None means the authorities that the system knows.
        send_max_ms: How long one try may take.
    """

    def __init__(
        self,
        test_hosts: Collection[str] = frozenset(),
        *,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        send_max_ms: int = CALLBACK_SEND_MAX_MS,
    ) -> None:
        self._test_hosts = frozenset(test_hosts)
        self._resolve = resolve or looked_up
        self._trust: ssl.SSLContext | bool = trust or True
        self._send_max_ms = send_max_ms

    async def check(self, url: str) -> None:
        """Check an address before anything is promised to its owner.

        Raises:
            InvalidRequestError: Callbacks may not go there, or its host can't be found now.
        """
        address = address_of(url, test_hosts=self._test_hosts)
        try:
            async with asyncio.timeout(CALLBACK_RESOLVE_MAX_MS / 1_000):
                await self._checked_ips(address)
        except (OSError, UnicodeError, TimeoutError) as exc:
            raise refused(UNFOUND, retryable=True) from exc

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a callback once. Safe to repeat: receivers know it again by its id."""
        try:
            async with asyncio.timeout(self._send_max_ms / 1_000):
                address = address_of(url, test_hosts=self._test_hosts)
                return _reply(await self._status(address, await self._checked_ips(address), headers, body))
        except InvalidRequestError:
            return Reply("missed", "address_refused")
        except TimeoutError:
            return Reply("missed", "timeout")
        except aiohttp.ClientSSLError:
            return Reply("missed", "tls")
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, UnicodeError):
            return Reply("missed", "unreachable")

    async def _checked_ips(self, address: Address) -> Sequence[str]:
        """Return the IP addresses of a host, all of which are checked.

        Raises:
            InvalidRequestError: One of them is not of the public internet.
            OSError: There are none.
        """
        ips = [address.host] if address.is_literal else await self._resolve(address.host, address.port)
        if not ips:
            raise OSError("the name stands for no address")
        if len(ips) > ADDRESSES_MAX or not all(map(address.may_reach, ips)):
            raise refused(ELSEWHERE)
        return ips

    async def _status(self, address: Address, ips: Sequence[str], headers: Mapping[str, str], body: bytes) -> int:
        url = URL.build(
            scheme=address.scheme,
            host=address.host,
            port=address.port,
            path=address.path,
            query_string=address.query,
            encoded=True,
        )
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(ips),
            use_dns_cache=False,
            force_close=True,
            ssl=self._trust,
            socket_factory=lambda info: _socket_to(info, ips),
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),  # the whole has its bound
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "volcengine-concurrent-tts", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.post(
                url, data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as answer,
        ):
            answer.close()  # what else it says is nobody's business
            return answer.status


async def looked_up(name: str, port: int) -> Sequence[str]:
    """Return the IP addresses that the system knows for a name.

    Raises:
        OSError: There are none, or nobody can tell.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _reply(status: int) -> Reply:
    verdict: Verdict = "missed"
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        verdict = "delivered"
    elif status == HTTPStatus.GONE:
        verdict = "gone"
    return Reply(verdict, f"http_{status}")


class _Pinned(AbstractResolver):
    """Looks nothing up: says the addresses that were checked."""

    def __init__(self, ips: Sequence[str]) -> None:
        self._ips = ips

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # both kinds are known
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for ip in self._ips
        ]

    async def close(self) -> None:
        pass


def _socket_to(info: aiohttp.AddrInfoType, ips: Sequence[str]) -> socket.socket:
    """Open a socket for one of the addresses that were checked: the last gate, whatever came before."""
    family, kind, protocol, _, address = info
    assert address[0] in ips, "a connection goes where it was checked to go"
    return socket.socket(family, kind, protocol)
