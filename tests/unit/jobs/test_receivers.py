"""The way to receivers: only to addresses that were checked, whatever a name or an answer says."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.certificates import certificate_of_this_machine
from tests.support.receivers import Answering, Names, Receiver
from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import CALLBACK_SEND_MAX_MS
from volcengine_gateway.jobs.receivers import ADDRESSES_MAX, Receivers, Reply, _socket_to, looked_up

PUBLIC, PUBLIC_V6 = "93.184.216.34", "2606:2800:220:1::1"
METADATA = "169.254.169.254"
MISSED = Reply("missed", "address_refused")


def _pointing_elsewhere(location: str, status: int) -> Answering:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location, "Set-Cookie": "a=b"})

    return answer


# --- at submission ----------------------------------------------------------------


@pytest.mark.parametrize("ips", [[PUBLIC], [PUBLIC_V6], [PUBLIC, PUBLIC_V6, "1.1.1.1"], ["64:ff9b::5db8:d822"]])
async def test_a_name_of_the_public_internet_is_taken(ips: list[str]) -> None:
    names = Names([ips])
    await Receivers(resolve=names).check("https://example.com/x")

    assert names.asked == ["example.com"]


@pytest.mark.parametrize(
    "ips",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        [METADATA],
        ["100.64.1.1"],
        ["0.0.0.0"],  # noqa: S104 - not an address to listen on
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:10.0.0.1"],
        ["2002:a9fe:a9fe::1"],
        [PUBLIC, "192.168.1.1"],
        [PUBLIC_V6, PUBLIC, "fd00:ec2::254"],
        [PUBLIC] * (ADDRESSES_MAX + 1),
        ["not an address"],
    ],
)
async def test_a_name_that_leads_elsewhere_is_refused_whatever_else_it_stands_for(ips: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match="callback_url should lead to the public internet"):
        await Receivers(resolve=Names([ips])).check("https://example.com/x")


async def test_a_name_that_nobody_finds_is_refused_for_now() -> None:
    with pytest.raises(InvalidRequestError, match="callback_url should name a host that can be found") as refusal:
        await Receivers(resolve=Names([[]])).check("https://example.com/x")

    assert refusal.value.retryable


async def test_a_name_that_takes_too_long_to_find_is_refused_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_name: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return [PUBLIC]

    monkeypatch.setattr("volcengine_gateway.jobs.receivers.CALLBACK_RESOLVE_MAX_MS", 20)
    with pytest.raises(InvalidRequestError) as refusal:
        await Receivers(resolve=never).check("https://example.com/x")

    assert refusal.value.retryable


async def test_an_ip_address_is_not_looked_up() -> None:
    names = Names([[]])
    await Receivers(resolve=names).check(f"https://{PUBLIC}/x")
    await Receivers(resolve=names).check(f"https://[{PUBLIC_V6}]/x")

    assert names.asked == []


async def test_the_systems_names_are_looked_up_off_the_event_loop() -> None:
    found = await looked_up("localhost", 443)

    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(found) == len(set(found)) > 0


# --- at sending ---------------------------------------------------------------------


async def test_a_callback_arrives_as_it_was_sent_and_brings_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Receiver() as receiver:
        receivers = Receivers([receiver.test_host()])
        reply = await receivers.post(receiver.url("/a%2Fb//c?d=%20e&f"), headers={"Webhook-Id": "1"}, body=b'{"a": 1}')

        [received] = receiver.received
        assert reply == Reply("delivered", "http_204")
        assert (received.target, received.body) == ("/a%2Fb//c?d=%20e&f", b'{"a": 1}')
        assert received.headers == {
            "host": f"127.0.0.1:{receiver.port}",
            "content-type": "application/json",
            "content-length": "8",
            "webhook-id": "1",
            "user-agent": "volcengine-concurrent-tts",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "delivered"),
        (201, "delivered"),
        (299, "delivered"),
        (304, "missed"),
        (400, "missed"),
        (401, "missed"),
        (404, "missed"),
        (410, "gone"),
        (429, "missed"),
        (500, "missed"),
        (503, "missed"),
    ],
)
async def test_the_status_says_whether_it_was_heard(status: int, verdict: str) -> None:
    async with Receiver([status]) as receiver:
        reply = await Receivers([receiver.test_host()]).post(receiver.url(), headers={}, body=b"{}")

        assert (reply.verdict, reply.reason) == (verdict, f"http_{status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Receiver() as other, Receiver(_pointing_elsewhere(other.url(), status)) as receiver:
        receivers = Receivers([receiver.test_host(), other.test_host()])
        replies = [await receivers.post(receiver.url(), headers={}, body=b"{}") for _ in range(2)]

        assert replies == [Reply("missed", f"http_{status}")] * 2
        assert other.received == []
        assert all("cookie" not in received.headers for received in receiver.received)


async def test_a_name_that_has_come_to_stand_for_this_machine_is_not_called() -> None:
    """DNS rebinding: right at submission, wrong at sending."""
    async with Receiver() as receiver:
        names = Names([[PUBLIC], ["127.0.0.1"], [METADATA], [PUBLIC, "10.0.0.1"]])
        receivers = Receivers(resolve=names)
        url = f"https://example.com:{receiver.port}/x"
        await receivers.check(url)
        replies = [await receivers.post(url, headers={}, body=b"{}") for _ in range(3)]

        assert replies == [MISSED] * 3
        assert receiver.received == []


async def test_a_try_looks_up_once_and_goes_to_what_it_checked() -> None:
    """DNS rebinding: a second look-up between check and connection would lead elsewhere."""
    async with Receiver() as receiver:
        names = Names([["127.0.0.1"], ["10.0.0.1"]])
        receivers = Receivers([receiver.test_host("receiver.test")], resolve=names)
        reply = await receivers.post(receiver.url(host="receiver.test"), headers={}, body=b"{}")

        assert reply.verdict == "delivered"
        assert names.asked == ["receiver.test"]
        assert receiver.received[0].headers["host"] == f"receiver.test:{receiver.port}"


async def test_a_test_host_stands_for_nothing_but_this_machine_and_the_public_internet() -> None:
    async with Receiver() as receiver:
        for ip in ("10.0.0.1", METADATA, "::ffff:127.0.0.1"):
            receivers = Receivers([receiver.test_host("receiver.test")], resolve=Names([[ip]]))

            assert await receivers.post(receiver.url(host="receiver.test"), headers={}, body=b"{}") == MISSED


async def test_no_connection_goes_where_it_was_not_checked_to_go() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))
    with _socket_to(info, ["127.0.0.1"]) as opened:
        assert opened.family == socket.AF_INET

    with pytest.raises(AssertionError):
        _socket_to(info, [PUBLIC])


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://127.0.0.1/x", f"http://{METADATA}/", "file:///x"])
async def test_an_address_that_was_never_right_is_not_called(url: str) -> None:
    """A stage's test hosts may have changed since the job was submitted."""
    assert await Receivers().post(url, headers={}, body=b"{}") == MISSED


async def test_a_receiver_that_is_not_there_is_missed() -> None:
    async with Receiver() as receiver:
        url, test_host = receiver.url(), receiver.test_host()
    reply = await Receivers([test_host]).post(url, headers={}, body=b"{}")

    assert reply == Reply("missed", "unreachable")


async def test_a_name_that_is_gone_is_missed() -> None:
    reply = await Receivers(resolve=Names([[]])).post("https://example.com/", headers={}, body=b"{}")

    assert reply == Reply("missed", "unreachable")


async def test_a_receiver_that_does_not_answer_is_missed_in_time() -> None:
    is_late = asyncio.Event()

    async def late(_request: web.BaseRequest) -> web.StreamResponse:
        await is_late.wait()
        return web.Response()

    async with Receiver(late) as receiver:
        receivers = Receivers([receiver.test_host()], send_max_ms=100)
        reply = await receivers.post(receiver.url(), headers={}, body=b"{}")
        is_late.set()

        assert reply == Reply("missed", "timeout")
        assert CALLBACK_SEND_MAX_MS == 10_000


async def test_an_answer_without_end_is_not_read() -> None:
    is_cut = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(64 * 1_024))
        finally:
            is_cut.set()

    async with Receiver(endless) as receiver:
        reply = await Receivers([receiver.test_host()]).post(receiver.url(), headers={}, body=b"{}")

        assert reply == Reply("delivered", "http_200")
        await is_cut.wait()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 2",
        b"what do you want\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x15\x03\x01\x00",
    ],
)
async def test_what_is_no_answer_is_a_miss(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        reply = await Receivers([f"127.0.0.1:{port}"]).post(f"http://127.0.0.1:{port}/", headers={}, body=b"{}")

    assert reply == Reply("missed", "unreachable")


# --- TLS ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_of_this_machine(tmp_path_factory.mktemp("tls"))


async def test_a_receivers_certificate_is_verified_against_the_name_that_was_given(certificate: Path) -> None:
    """The connection goes to an IP address, but the name is what its owner proved."""
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=certificate)
    async with Receiver(tls=server_tls) as receiver:
        hosts = [receiver.test_host(name) for name in ("localhost", "127.0.0.1", "receiver.test")]
        names = Names([["127.0.0.1"]])
        trusting, doubting = Receivers(hosts, resolve=names, trust=trust), Receivers(hosts, resolve=names)
        by_name = await trusting.post(receiver.url(host="localhost"), headers={}, body=b"{}")
        by_address = await trusting.post(receiver.url(), headers={}, body=b"{}")
        by_other_name = await trusting.post(receiver.url(host="receiver.test"), headers={}, body=b"{}")
        by_stranger = await doubting.post(receiver.url(host="localhost"), headers={}, body=b"{}")

        assert by_name.verdict == by_address.verdict == "delivered"
        assert by_other_name == by_stranger == Reply("missed", "tls")
        assert len(receiver.received) == 2
