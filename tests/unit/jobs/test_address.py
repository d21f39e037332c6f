"""Addresses of callbacks: the public internet over https, however else one is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import CALLBACK_URL_CHARACTERS_MAX
from volcengine_gateway.jobs.address import Address, address_of, is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.169.0.1"]
PUBLIC_V6 = ["2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::808:808", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - not an address to listen on
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
NOT_PUBLIC_V6 = [
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:100.64.0.1",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
]
TEST_HOSTS = ["127.0.0.1:9000", "[::1]:9000", "receiver.test:9000", "localhost:443", "169.254.169.254:9000"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://example.com", Address("https", "example.com", 443, "/", "", is_test=False)),
        ("https://example.com/", Address("https", "example.com", 443, "/", "", is_test=False)),
        ("https://example.com:8443/a//b?c=d&e", Address("https", "example.com", 8443, "/a//b", "c=d&e", is_test=False)),
        ("https://example.com?c=/@:", Address("https", "example.com", 443, "/", "c=/@:", is_test=False)),
        ("HTTPS://Example.COM/Path%20a", Address("https", "example.com", 443, "/Path%20a", "", is_test=False)),
        ("https://xn--e1afmkfd.xn--p1ai/x", Address("https", "xn--e1afmkfd.xn--p1ai", 443, "/x", "", is_test=False)),
        ("https://8.8.8.8/x", Address("https", "8.8.8.8", 443, "/x", "", is_test=False)),
        ("https://[2606:4700:0::1111]:444", Address("https", "2606:4700::1111", 444, "/", "", is_test=False)),
    ],
)
def test_an_address_of_the_public_internet_is_taken(url: str, address: Address) -> None:
    assert address_of(url, test_hosts=()) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:text/plain,a",
        "javascript:alert(1)",
        "ws://example.com/",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "https://",
        "https://?a",
        "//example.com/",
        "example.com",
        "",
        " https://example.com/",
        "https://example.com/\n",
        "https://exam\tple.com/",
        "https://example.com/a b",
        "https://example.com/\x00",
        "https://example.com/ä",
        "https://пример.рф/",
        "https://example.com\\@127.0.0.1/",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com#",
        "https://example.com/#a",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:-1/",
        "https://example.com:+443/",
        "https://example.com:0443/",
        "https://example.com:/",
        "https://example.com:a/",
        "https://example.com:443:443/",
        "https://[::1",
        "https://::1]/",
        "https://::1/",
        "https://a[::1]/",
        "https://[::1]example.com/",
        "https://[example.com]/",
        "https://[v1.a]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1111%25eth0]/",
        "https://%6c%6f%63alhost/",
        "https://127%2e0.0.1/",
        "https://localhost/",
        "https://LOCALHOST:443/",
        "https://localhost./",
        "https://example.com./",
        "https://gateway/",
        "https://.example.com/",
        "https://example..com/",
        "https://-example.com/",
        "https://example-.com/",
        "https://exam_ple.com/",
        "https://exam!ple.com/",
        f"https://{'a' * 64}.com/",
        f"https://{'a.' * 130}com/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://foo.localhost/",
        "https://foo.localdomain/",
        "https://router.home.arpa/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0X7F.0.0.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.0x1/",
        "https://127.0.0.01/",
        "https://0/",
        "https://8.8.8.8.8/",
        "https://example.1/",
        "https://256.1.1.1/",
        "https://127.0.0.1./",
        "https://１２７.0.0.1/",  # noqa: RUF001 - digits that some fold
        "https://ⓔxample.com/",
        *(f"https://{ip}/" for ip in NOT_PUBLIC),
        *(f"https://[{ip}]/" for ip in NOT_PUBLIC_V6),
        "https://example.com/" + "a" * CALLBACK_URL_CHARACTERS_MAX,
    ],
)
def test_anything_else_is_refused_by_the_fields_name(url: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^callback_url should ") as refusal:
        address_of(url, test_hosts=())

    assert refusal.value.details == {"fields": [{"field": "callback_url", "message": refusal.value.message}]}
    assert not refusal.value.retryable


@pytest.mark.parametrize("secret", ["https://example.com/#canary", "http://canary.example.com/", "https://canary@a.b/"])
def test_a_refusal_does_not_repeat_the_address(secret: str) -> None:
    """I6: an address may hold a key."""
    with pytest.raises(InvalidRequestError) as refusal:
        address_of(secret, test_hosts=())

    assert "canary" not in repr((refusal.value, refusal.value.details))


@given(st.text(max_size=60) | st.text("https:/@[]#%.\\0127xlocalhost?", max_size=40))
def test_no_address_brings_anything_but_a_refusal(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            address = address_of(url, test_hosts=())
        except InvalidRequestError:
            continue
        assert address.scheme == "https"
        assert "." in address.host or ":" in address.host


@pytest.mark.parametrize("ip", PUBLIC + PUBLIC_V6)
def test_a_public_address_is_public(ip: str) -> None:
    assert is_public(ip_address(ip))


@pytest.mark.parametrize("ip", NOT_PUBLIC + NOT_PUBLIC_V6 + ["2606:4700::1111%eth0"])
def test_what_is_of_a_machine_or_a_network_is_not_public(ip: str) -> None:
    assert not is_public(ip_address(ip))


@given(st.integers(0, 2**32 - 1))
def test_no_wrapping_makes_an_address_public(v4: int) -> None:
    is_bare_public = is_public(ip_address(v4))
    mapped, nat64 = (ip_address((prefix << 32) | v4) for prefix in (0xFFFF, 0x64FF9B << 64))
    teredo, six_to_four = ip_address((0x20010000 << 96) | (v4 << 64)), ip_address((0x2002 << 112) | (v4 << 80))

    assert is_public(mapped) == is_public(nat64) == is_bare_public
    assert not is_public(teredo)
    assert not is_public(six_to_four)
    assert not is_public(ip_address((1 << 126) | v4))


@given(st.ip_addresses())
def test_what_is_public_is_nobodys_own(ip: IPv4Address | IPv6Address) -> None:
    """The library's word is another judge, which knows less of wraps."""
    claims = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_reserved, ip.is_unspecified)

    assert not (is_public(ip) and any(claims)) or str(ip).startswith(("::ffff:", "64:ff9b::"))


# --- test hosts ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/x",
        "https://127.0.0.1:9000/x",
        "http://[::1]:9000/",
        "http://[0:0:0:0:0:0:0:1]:9000/",
        "http://receiver.test:9000/?a=b",
        "http://Receiver.Test:9000/",
        "https://localhost/",
    ],
)
def test_a_test_host_may_be_on_this_machine_and_without_tls(url: str) -> None:
    address = address_of(url, test_hosts=TEST_HOSTS)

    assert address.is_test
    assert address.may_reach("127.0.0.1")
    assert address.may_reach("::1")
    assert not address.may_reach("10.0.0.1")
    assert not address.may_reach("169.254.169.254")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9001/",
        "http://127.0.0.1/",
        "http://127.0.0.2:9000/",
        "http://receiver.test/",
        "http://receiver.test:9001/",
        "http://localhost:443@receiver.test:9000/",
        "http://a.receiver.test:9000/",
        "http://169.254.169.254:9000/",
        "file://receiver.test:9000/",
    ],
)
def test_only_the_very_host_and_port_are_a_test_host(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        address_of(url, test_hosts=TEST_HOSTS)


def test_an_ordinary_address_never_reaches_this_machine() -> None:
    address = address_of("https://example.com/", test_hosts=TEST_HOSTS)

    assert address.may_reach("8.8.8.8")
    assert not any(address.may_reach(ip) for ip in [*NOT_PUBLIC, *NOT_PUBLIC_V6, "example.com", "", "fe80::1%eth0"])
