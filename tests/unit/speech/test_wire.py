"""The wire: one answer for each request, and nothing leaks whatever the other side does."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from pathlib import Path

import pytest
from yarl import URL

from tests.support.certificates import certificate_of_this_machine
from tests.support.scripted_upstream import (
    Answer,
    Exchange,
    RecordedCall,
    ScriptedUpstream,
    cuts,
    hangs,
    raw,
    raw_answer,
)
from tests.support.wired import FINE, FINE_ANSWER, SetClock, post, wired
from volcengine_client import errors
from volcengine_client.clock import SystemClock
from volcengine_client.limits import IDLE_CONNECTION_MS, UPSTREAM_ANSWER_BYTES_MAX
from volcengine_client.speech.wire import Answer as WholeAnswer
from volcengine_client.speech.wire import Wire, _Request

LOST = errors.LeaseLostError("the lease is over")


async def test_connections_are_kept_over_calls_and_made_for_each_call_in_progress() -> None:
    async with wired(FINE) as (upstream, wire):
        for _ in range(3):
            assert await post(wire) == FINE_ANSWER
        assert upstream.connection_count == 1

        await asyncio.gather(*(post(wire) for _ in range(20)))

        assert upstream.connection_count == 20


@pytest.mark.parametrize(
    ("answer", "is_answered"),
    [
        (cuts, False),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le", is_kept=False), False),
        (raw(b"HTTP/1.1 you and whose army\r\n\r\n", is_kept=False), False),
        (raw(b"\x15\x03\x01", is_kept=False), False),
        (raw(raw_answer(200, b"{}")[:-1], is_kept=False), True),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", is_kept=False), False),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", is_kept=False), True),
        (raw(raw_answer(200, b"not gzip at all", Content_Encoding="gzip")), True),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", is_kept=False), False),
    ],
)
async def test_a_broken_answer_is_the_upstreams_failure(answer: Answer, is_answered: bool) -> None:
    async with wired(answer, FINE) as (upstream, wire):
        call = RecordedCall()
        with pytest.raises(errors.UpstreamUnavailableError) as broken:
            await post(wire, call)
        await upstream.all_closed.wait()

        assert call.told == ["ready", "sent"] + ["answered"] * is_answered
        assert "the-access-key" not in "".join(traceback.format_exception(broken.value))
        assert await post(wire) == FINE_ANSWER


async def test_a_gateways_timeout_does_not_say_that_the_upstream_is_done() -> None:
    async with wired(raw(raw_answer(504, b"<html>"))) as (_, wire):
        call = RecordedCall()

        assert (await post(wire, call)).http_status == 504
        assert call.told == ["ready", "sent"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with wired(FINE) as (other, _), wired(raw(raw_answer(status, b"", Location=other.url))) as (_, wire):
        assert (await post(wire)).http_status == status
        assert other.connection_count == 0


async def test_no_cookie_is_kept_and_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(FINE) as (proxy, _), wired(raw(raw_answer(200, b"{}", Set_Cookie="a=b"))) as (upstream, wire):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        await post(wire)
        await post(wire)

        assert proxy.connection_count == 0
        assert all("cookie" not in request.headers for request in upstream.requests)


async def test_an_answer_without_end_is_given_up() -> None:
    async def pours(exchange: Exchange) -> bool:
        await exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        for _ in range(2 * UPSTREAM_ANSWER_BYTES_MAX // 0x100000):
            await exchange.write(piece)
        return False

    async with wired(pours) as (upstream, wire):
        with pytest.raises(errors.UpstreamUnavailableError, match="larger than"):
            await post(wire)
        await upstream.all_closed.wait()


async def test_an_upstream_that_does_not_answer_is_left_in_time() -> None:
    async with wired(hangs, FINE) as (upstream, wire):
        call = RecordedCall()
        with pytest.raises(errors.UpstreamTimeoutError, match="within 30 ms"):
            await post(wire, call, timeout_ms=30)
        await upstream.all_closed.wait()

        assert call.told == ["ready", "sent"]
        assert await post(wire) == FINE_ANSWER


async def test_an_answer_that_stalls_is_left_in_time() -> None:
    async def stalls(exchange: Exchange) -> bool:
        await exchange.write(raw_answer(200, b"{}")[:-1])
        return await hangs(exchange)

    async with wired(stalls) as (upstream, wire):
        call = RecordedCall()
        with pytest.raises(errors.UpstreamTimeoutError):
            await post(wire, call, timeout_ms=30)
        await upstream.all_closed.wait()

        assert call.told == ["ready", "sent", "answered"]


async def test_a_cancelled_call_ends_at_once_and_closes_its_connection() -> None:
    async with wired(hangs) as (upstream, wire):
        call = RecordedCall()
        posting = asyncio.ensure_future(post(wire, call))
        await upstream.arrived.wait()
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
        await upstream.all_closed.wait()

        assert call.told == ["ready", "sent"]


@pytest.mark.parametrize(
    ("monotonic_ms", "wall_ms", "is_closed"),
    [
        (IDLE_CONNECTION_MS, 0, False),
        (IDLE_CONNECTION_MS + 1, 0, True),
        (0, IDLE_CONNECTION_MS + 1, True),  # the monotonic clock stood still in the freeze
        (0, -IDLE_CONNECTION_MS - 1, False),
    ],
)
async def test_connections_idle_for_too_long_are_closed_when_asked(
    monotonic_ms: int, wall_ms: int, is_closed: bool
) -> None:
    clock = SetClock()
    async with wired(FINE, clock=clock) as (upstream, wire):
        await wire.close_idle()
        await post(wire)
        clock.now_ms += monotonic_ms
        clock.wall_ahead_ms += wall_ms
        await wire.close_idle()
        await post(wire)

        assert upstream.connection_count == 1 + is_closed


async def test_connections_in_use_are_never_idle() -> None:
    clock = SetClock()
    may_answer = asyncio.Event()

    async def answers_later(exchange: Exchange) -> bool:
        await may_answer.wait()
        return await FINE(exchange)

    async with wired(answers_later, clock=clock) as (upstream, wire):
        posting = asyncio.ensure_future(post(wire))
        await upstream.arrived.wait()
        clock.now_ms += 10 * IDLE_CONNECTION_MS
        await wire.close_idle()
        may_answer.set()

        assert await posting == FINE_ANSWER


async def test_closing_leaves_nothing_open_and_may_be_repeated() -> None:
    async with wired(FINE) as (upstream, wire):
        await wire.close()
        await asyncio.gather(*(post(wire) for _ in range(3)))
        await wire.close()
        await wire.close()
        await upstream.all_closed.wait()

        assert await post(wire) == FINE_ANSWER


def test_each_event_loop_has_connections_of_its_own() -> None:
    wire = Wire("http://127.0.0.1", clock=SystemClock())

    async def post_twice() -> int:
        async with ScriptedUpstream(FINE) as upstream:
            wire._base = URL(upstream.url)
            await post(wire)
            await post(wire)
            await wire.close()
            return upstream.connection_count

    for _ in range(2):
        with asyncio.Runner() as runner:
            assert runner.run(post_twice()) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_of_this_machine(tmp_path_factory.mktemp("tls"))


async def test_the_same_holds_over_tls(certificate: Path) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    async with ScriptedUpstream(FINE, ssl_context=server_tls) as upstream:
        wire, call = Wire(upstream.url, clock=SystemClock(), ssl_context=trusting), RecordedCall()
        for is_refused in (True, False, False, True):
            if is_refused:
                with pytest.raises(errors.LeaseLostError):
                    await post(wire, RecordedCall(refusal=LOST))
            else:
                assert await post(wire, call) == FINE_ANSWER
        await wire.close()
        await upstream.all_closed.wait()

        assert call.told == ["ready", "sent", "answered"] * 2
        assert [count > 0 for count in upstream.byte_counts] == [False, True]
        assert len(upstream.requests) == 2


async def test_a_stranger_behind_tls_is_not_spoken_to(certificate: Path) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    async with ScriptedUpstream(FINE, ssl_context=server_tls) as upstream:
        wire, call = Wire(upstream.url, clock=SystemClock()), RecordedCall()
        with pytest.raises(errors.UpstreamUnavailableError, match="can't be reached"):
            await post(wire, call)
        await wire.close()

        assert call.told == []
        assert upstream.requests == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "openspeech.bytedance.com",
        "ftp://host",
        "http://",
        "http://:80",
        "https://user:secret@host",
        "https://secret@host",
        "https://host?secret=1",
        "https://host#secret",
        "https://host:secret",
        "http://[::1",
        f"http://{'a' * 64}.secret",
    ],
)
def test_an_endpoint_that_is_no_base_url_is_refused_and_not_repeated(endpoint: str) -> None:
    with pytest.raises(ValueError, match="base URL") as refused:
        Wire(endpoint, clock=SystemClock())

    assert "secret" not in "".join(traceback.format_exception(refused.value))


async def test_an_endpoint_may_have_a_path() -> None:
    async with ScriptedUpstream(FINE) as upstream:
        for base in (upstream.url, f"{upstream.url}/", f"{upstream.url}/mirror", f"{upstream.url}/mirror/"):
            wire = Wire(base, clock=SystemClock())
            await post(wire)
            await wire.close()

        assert [request.target for request in upstream.requests] == ["/api/v1/tts"] * 2 + ["/mirror/api/v1/tts"] * 2


def test_a_request_does_not_show_what_it_carries() -> None:
    assert "秘密" not in repr(_Request("秘密".encode(), RecordedCall()))
    assert "秘密" not in repr(WholeAnswer(200, None, "秘密".encode()))
