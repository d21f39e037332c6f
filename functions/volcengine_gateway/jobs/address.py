"""Where a callback may go: an address in the public internet, over https. Pure.

Whoever may submit a job could otherwise have the gateway ask for what only the gateway reaches: its own machine, its
network, the metadata of its cloud. So an address is checked as it is written, and so is every IP address that its
host's name stands for, when the job is submitted and again whenever the callback is sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import CALLBACK_URL_CHARACTERS_MAX

FIELD = "callback_url"
EXAMPLE = "https://example.com/tts-done"
ELSEWHERE = "should lead to the public internet, not to this gateway's own machine or network"
VISIBLE = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces and without the backslash, which some read as a slash
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a name whose last part looks so is read as an IPv4 address by some
NAME_CHARACTERS_MAX = 253
PORTS = {"https": 443, "http": 80}
OWN_NETWORK = frozenset({"internal", "local", "localhost", "localdomain", "lan", "intranet", "corp", "home"})
OWN_NETWORK_NAMES = ".home.arpa"

# What IANA keeps for other ends than the public internet.
REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers; some clouds' metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own host, from within a machine of it
        "169.254.0.0/16",  # link-local: the clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
PUBLIC_V6 = IPv6Network("2000::/3")  # all that is public is in here ...
REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # ... but for protocols, Teredo among them,
        "2001:db8::/32",  # documents,
        "2002::/16",  # 6to4, which wraps any IPv4 address,
        "3fff::/20",  # and documents again
    )
)
MAPPED_V6 = IPv6Network("::ffff:0:0/96")  # an IPv4 address written as IPv6
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address as seen from a network that has IPv6 only


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a callback that is well written.

    Attributes:
        scheme: `https`; `http` for a test host only.
        host: A name in lower case, or an IP address without brackets.
        port: 1 to 65535.
        path: From the first slash on, as it was written.
        query: Without its question mark.
        is_test: Whether the host is one of the stage's test hosts, which may be on this machine.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str
    is_test: bool

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return _ip_in(self.host) is not None

    def may_reach(self, ip: str) -> bool:
        """Tell whether a callback to this address may go to *ip*, one of the addresses of its host."""
        found = _ip_in(ip)
        return found is not None and (is_public(found) or (self.is_test and found.is_loopback))


def address_of(url: str, *, test_hosts: Collection[str]) -> Address:
    """Return the address that a caller wrote. A name is still to be looked up.

    Args:
        url: As the caller gave it.
        test_hosts: `host:port` of each that may have plain http and addresses of this machine.

    Raises:
        InvalidRequestError: It is not one that callbacks may go to; the message says what is wanted, never the address.
    """
    if len(url) > CALLBACK_URL_CHARACTERS_MAX:
        raise refused(f"should have at most {CALLBACK_URL_CHARACTERS_MAX:,} characters")
    if not VISIBLE.fullmatch(url):
        raise refused("should be visible ASCII without backslashes; encode other characters of the path with %")
    if "#" in url:
        raise refused("should have no fragment (#)")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError as exc:
        raise refused(f"should be an address such as {EXAMPLE}") from exc
    if split.scheme not in PORTS:
        raise refused(f"should begin with https://, as {EXAMPLE}")
    if "@" in split.netloc:
        raise refused("should hold no user name and no password")
    if port == 0:
        raise refused("should have a port from 1 to 65535, or none")
    return _of_host(split, test_hosts)


def _of_host(split: SplitResult, test_hosts: Collection[str]) -> Address:
    written = split.hostname or ""
    host = _literal(written) if "[" in split.netloc or NUMBER.fullmatch(written.rpartition(".")[2]) else _name(written)
    shown = f"[{host}]" if ":" in host else host
    port = split.port or PORTS[split.scheme]
    is_test = f"{shown}:{port}" in test_hosts
    address = Address(split.scheme, host, port, split.path or "/", split.query, is_test)
    if split.scheme != "https" and not is_test:
        raise refused("should begin with https://")
    # Whoever reads it otherwise than this module would go elsewhere.
    written = f"[{written}]" if "[" in split.netloc else written
    if split.netloc.lower() != (written if split.port is None else f"{written}:{split.port}"):
        raise refused(f"should be an address such as {EXAMPLE}")
    if address.is_literal and not address.may_reach(host):
        raise refused(ELSEWHERE)
    if not address.is_literal and not is_test and _is_of_own_network(host):
        raise refused(ELSEWHERE)
    return address


def _literal(written: str) -> str:
    """Return an IP address in its usual form; no other form of one is taken."""
    ip = _ip_in(written)
    if ip is None or (isinstance(ip, IPv6Address) and ip.scope_id is not None):
        raise refused("should have an IP address in its usual form, or rather a name")
    return str(ip)


def _name(written: str) -> str:
    labels = written.split(".")
    if len(written) > NAME_CHARACTERS_MAX or not all(map(LABEL.fullmatch, labels)):
        raise refused("should name its host by letters, digits, hyphens and dots; an international name as xn--")
    return written


def _is_of_own_network(name: str) -> bool:
    return "." not in name or name.rpartition(".")[2] in OWN_NETWORK or name.endswith(OWN_NETWORK_NAMES)


def _ip_in(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of the public internet, through whatever wraps it."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in REFUSED_V4)
    if ip.scope_id is not None:
        return False
    if ip in MAPPED_V6 or ip in NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in PUBLIC_V6 and not any(ip in network for network in REFUSED_V6)


def refused(wanted: str, *, retryable: bool = False) -> InvalidRequestError:
    """Return the error that names the field, and says what it should be."""
    message = f"{FIELD} {wanted}"
    return InvalidRequestError.of_field(FIELD, message, retryable=retryable)
