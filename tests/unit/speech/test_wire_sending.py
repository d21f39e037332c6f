"""The wire: not a byte before the call may start, and none too late."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.scripted_upstream import Exchange, RecordedCall, raw_answer
from tests.support.wired import BODY, FINE, FINE_ANSWER, post, wire_to, wired
from volcengine_client import errors
from volcengine_client.speech import wire as wire_room
from volcengine_client.speech.wire import _is_closed_by_peer

LOST = errors.LeaseLostError("the lease is over")


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_call_that_may_not_start_sends_no_byte_and_leaks_no_connection(is_kept: bool) -> None:
    async with wired(FINE) as (upstream, wire):
        if is_kept:
            await post(wire)
        counts = [*upstream.byte_counts]
        call = RecordedCall(refusal=LOST)

        with pytest.raises(errors.LeaseLostError) as lost:
            await post(wire, call)
        await upstream.all_closed.wait()

        assert lost.value is LOST
        assert call.told == []
        assert sum(upstream.byte_counts) == sum(counts)
        assert await post(wire) == FINE_ANSWER


async def test_a_bug_in_the_call_is_not_taken_for_the_upstreams_failure() -> None:
    async with wired(FINE) as (upstream, wire):
        with pytest.raises(AssertionError, match="a bug"):
            await post(wire, RecordedCall(refusal=AssertionError("a bug")))
        await upstream.all_closed.wait()

        assert upstream.byte_counts == [0]


async def test_the_call_hears_of_each_step_when_it_happens() -> None:
    asked = asyncio.Event()

    async def answer_when_asked(exchange: Exchange) -> bool:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asked.wait()
        await exchange.write(b"{}")
        return True

    async with wired(answer_when_asked) as (upstream, wire):
        call = RecordedCall()
        posting = asyncio.ensure_future(post(wire, call))
        await upstream.arrived.wait()
        assert call.told[:2] == ["ready", "sent"]
        await call.heard["answered"].wait()

        assert not posting.done()
        asked.set()
        assert (await posting).body == b"{}"


LARGE = bytes(16 * 1_024 * 1_024)  # more than the kernel's buffers hold
large = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@contextlib.contextmanager
def deaf() -> Iterator[tuple[socket.socket, str]]:
    """A listener that accepts nothing by itself, and its base URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_an_upstream_out_of_reach_is_told_and_nothing_was_sent() -> None:
    with deaf() as (_, endpoint):
        pass  # nobody listens there any more
    async with wire_to(endpoint) as wire:
        call = RecordedCall()
        with pytest.raises(errors.UpstreamUnavailableError, match="can't be reached"):
            await post(wire, call)

        assert call.told == []


async def test_a_name_that_nobody_knows_is_an_upstream_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_knows(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    async with wire_to("http://nowhere.invalid") as wire:
        with pytest.raises(errors.UpstreamUnavailableError, match="can't be reached"):
            await post(wire)


async def test_a_connection_takes_no_longer_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose backlog is full answers no handshake."""
    monkeypatch.setattr(wire_room, "CONNECT_MAX_MS", 30)
    with deaf() as (listener, endpoint), contextlib.ExitStack() as others:
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.settimeout(0)
            other.connect_ex(listener.getsockname())
        async with wire_to(endpoint) as wire:
            call = RecordedCall()
            with pytest.raises(errors.UpstreamUnavailableError, match="can't be reached"):
                await post(wire, call)

            assert call.told == []


def everything_from(listener: socket.socket) -> int:
    """Accept the waiting connection and count what comes over it until it ends."""
    count = 0
    with listener.accept()[0] as sock, contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(1_048_576):
            count += len(piece)
    return count


@large
async def test_a_request_that_cannot_leave_in_time_never_arrives_whole() -> None:
    """The kernel's buffers are full, so the rest of the request waits in ours, and is dropped there."""
    call = RecordedCall(send_max_ms=30)
    with deaf() as (listener, endpoint):
        async with wire_to(endpoint) as wire:
            with pytest.raises(errors.UpstreamUnavailableError, match="could not be sent in time"):
                await post(wire, call, body=LARGE)
            arrived = await asyncio.to_thread(everything_from, listener)

    assert call.told == ["ready"]
    assert 0 < arrived < len(LARGE)


@large
async def test_a_call_cancelled_while_its_request_leaves_counts_as_sent() -> None:
    call = RecordedCall()
    with deaf() as (listener, endpoint):
        async with wire_to(endpoint) as wire:
            posting = asyncio.ensure_future(post(wire, call, body=LARGE))
            await call.heard["ready"].wait()
            posting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posting
            arrived = await asyncio.to_thread(everything_from, listener)

    assert call.told == ["ready", "sent"]
    assert arrived < len(LARGE)


@large
async def test_a_refusal_in_the_middle_of_a_request_is_heard() -> None:
    """The upstream answers after the headers and reads no more."""
    done = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw_answer(413, b"{}"))
        await writer.drain()
        await done.wait()
        writer.close()

    call = RecordedCall()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with wire_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as wire:
        answer = await post(wire, call, body=LARGE)
        done.set()
    server.close()

    assert answer.http_status == 413
    assert sorted(call.told) == ["answered", "ready", "sent"]


class ClosingServer(threading.Thread):
    """A server in a thread of its own: answers once on its first connection and closes it when told."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.may_close, self.is_closed = threading.Event(), threading.Event()
        self.request_count = 0

    def run(self) -> None:
        for _ in range(2):
            with self.listener.accept()[0] as sock:
                arrived = b""
                while not arrived.endswith(BODY):
                    arrived += sock.recv(65_536)
                self.request_count += 1
                sock.sendall(raw_answer(200, b"{}"))
                self.may_close.wait()
            self.is_closed.set()
        self.listener.close()


async def test_a_connection_that_was_closed_while_this_process_stood_still_is_not_used() -> None:
    server, call = ClosingServer(), RecordedCall()
    server.start()
    async with wire_to(f"http://127.0.0.1:{server.listener.getsockname()[1]}") as wire:
        assert await post(wire) == FINE_ANSWER
        server.may_close.set()
        server.is_closed.wait()  # the event loop stands still meanwhile, and so learns nothing

        assert await post(wire, call) == FINE_ANSWER
    server.join()

    assert call.told == ["ready", "sent", "answered"]
    assert server.request_count == 2


async def test_connections_that_are_closed_already_are_given_up_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(FINE) as (upstream, wire):
        await asyncio.gather(*(post(wire) for _ in range(3)))
        counts = sum(upstream.byte_counts)
        monkeypatch.setattr(wire_room, "_is_closed_by_peer", lambda _: True)
        call = RecordedCall()
        with pytest.raises(errors.UpstreamUnavailableError, match="broke"):
            await post(wire, call)
        await upstream.all_closed.wait()

        assert call.told == []
        assert upstream.connection_count == 4
        assert sum(upstream.byte_counts) == counts


def test_the_kernel_knows_of_a_closed_connection() -> None:
    ours, theirs = socket.socketpair()

    class Transport(asyncio.Transport):
        pass

    with ours, theirs:
        transport = Transport({"socket": ours})
        assert not _is_closed_by_peer(transport)
        theirs.sendall(b"x")
        assert not _is_closed_by_peer(transport)
        theirs.close()
        assert _is_closed_by_peer(transport)
    assert not _is_closed_by_peer(Transport())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux bounds delivery")
async def test_the_kernel_too_gives_up_on_a_request_in_time() -> None:
    async with wired(FINE) as (_, wire):
        await post(wire, RecordedCall(send_max_ms=1_234))
        [line] = wire._lines.values()
        assert line.session.connector is not None
        [[(kept, _)]] = line.session.connector._conns.values()
        assert kept.transport is not None
        sock = kept.transport.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1_234
