"""The server: the routes of the simulated upstream and the work behind them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from infra.local.upstream.answers import BAD_GATEWAY, GATEWAY_TIMEOUT, Answer, answer_of, refusal_answer
from infra.local.upstream.answers_v3 import v3_answer_of, v3_refusal, written
from infra.local.upstream.asks import RefusedError, section
from infra.local.upstream.audio import Audio, Wishes, audio_of
from infra.local.upstream.gate import Admission, Gate
from infra.local.upstream.knocks import Knock, V1Knock, V3Knock
from infra.local.upstream.latency import work_ms
from infra.local.upstream.orders import Orders
from infra.local.upstream.page import page_of
from infra.local.upstream.record import Gauge
from infra.local.upstream.rules import Rules
from volcengine_client.clock import Clock, SystemClock

HOST = "127.0.0.1"
T = TypeVar("T")
_FIRST_WORDS = Wishes(text="你好", voice_type="BV001_streaming")  # said at the start, since the first take longer


class Upstream:
    """A simulated upstream in this process.

    Args:
        rules: How it behaves at first; `POST /_simulator` and `obey` change it.
        clock: Where its time comes from; a test may bring a clock that it moves by hand.
    """

    def __init__(self, rules: Rules | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.gate = Gate(rules or Rules(), now_ms=self._clock.monotonic_ms())
        self.url = ""
        self._changed = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._speaking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech")
        application = web.Application()
        application.on_response_prepare.append(self._name_answer)
        application.add_routes(
            [
                web.post("/api/v1/tts", self._speak),
                web.post("/api/v3/tts/unidirectional", self._stream),
                web.get("/_simulator", self._show),
                web.post("/_simulator", self._order),
                web.get("/_simulator/calls", self._show_calls),
                web.get("/", self._show_page),
            ]
        )
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, handle_signals=False
        )

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; `url` then says where.

        Raises:
            OSError: The port is taken.
        """
        await asyncio.get_running_loop().run_in_executor(self._speaking, audio_of, _FIRST_WORDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Cut all connections and drop all work."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._runner.cleanup()
        self._speaking.shutdown(wait=False, cancel_futures=True)

    def gauge(self, app_id: str, resource: str = "volc.tts.default") -> Gauge:
        """Return what one account did with one product since the last reset."""
        return self.gate.record.gauge(app_id, resource)

    def obey(self, orders: Orders) -> None:
        """Change the rules, order faults, forget the past: what `POST /_simulator` does."""
        self.gate.rules = self.gate.rules.changed(orders.changes)
        if orders.is_reset:
            self.gate.record.reset(self._clock.monotonic_ms())
            self.gate.script.of_next.clear()
            self.gate.script.of_text.clear()
        self.gate.script.of_next.extend(orders.next_faults)
        for text, faults in orders.text_faults.items():
            self.gate.script.of_text[text].extend(faults)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds; it is looked at after every change in what is in flight or delivered."""
        while not condition():
            await self._changed.wait()

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            admission = self._admitted(V1Knock(request.headers.get("Authorization"), raw))
        except RefusedError as exc:
            return _cut(request) if exc.refusal.status == 0 else _response(refusal_answer(exc.refusal, _reqid_of(raw)))
        answer = await self._answer(admission)
        if answer is None or request.transport is None or request.transport.is_closing():
            return _cut(request)
        self._count_delivery(admission, answer)
        return _response(answer)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        knock = V3Knock(request.headers, await request.read())
        try:
            admission = self._admitted(knock)
        except RefusedError as exc:
            if exc.refusal.status == 0:
                return _cut(request)
            reqid = request.headers.get("X-Api-Request-Id", "")
            return await self._told(request, v3_refusal(exc.refusal, reqid, self.gate.rules))
        half_done: asyncio.Future[Audio] = asyncio.get_running_loop().create_future()
        work = self._begin(self._work(admission, half_done))
        try:
            return await self._streamed(request, admission, half_done, work)
        except (asyncio.CancelledError, ConnectionError):
            if not admission.rules.hold_slot_until_done:
                work.cancel()
            raise

    async def _streamed(
        self,
        request: web.Request,
        admission: Admission,
        half_done: asyncio.Future[Audio],
        work: asyncio.Task[Answer],
    ) -> web.StreamResponse:
        """Answer with half of the objects in the middle of the work, and with the rest at its end."""
        audio, fault = await asyncio.shield(half_done), admission.fault
        answer = v3_answer_of(admission, audio)
        if fault == "cut" or answer.status != 200:
            if fault == "cut" and not admission.rules.hold_slot_until_done:
                work.cancel()
            return _cut(request) if fault == "cut" else await self._told(request, await asyncio.shield(work))
        pieces = written(answer.content, admission.rules)
        response = await _begun(request)
        for piece in pieces[: len(pieces) // 2]:
            await response.write(piece)
        if fault == "cut_amid":
            if not admission.rules.hold_slot_until_done:
                work.cancel()
            return _broken_off(request, response)
        done = await asyncio.shield(work)
        if done.status != 200 or request.transport is None or request.transport.is_closing():
            return _broken_off(request, response)
        self._count_delivery(admission, done)
        for piece in pieces[len(pieces) // 2 :]:
            await response.write(piece)
        await response.write_eof()
        return response

    async def _told(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        """Answer at once: with one object of a stream, or by status."""
        if answer.status != 200:
            return _response(answer)
        response = await _begun(request)
        for piece in written(answer.content, self.gate.rules):
            await response.write(piece)
        await response.write_eof()
        return response

    def _admitted(self, knock: Knock) -> Admission:
        try:
            return self.gate.admit(knock, now_ms=self._clock.monotonic_ms())
        finally:
            self._announce_change()

    def _count_delivery(self, admission: Admission, answer: Answer) -> None:
        if answer.is_good:
            self.gauge(admission.call.app_id, admission.call.resource).count_delivery(admission.call)
            self._announce_change()

    async def _answer(self, admission: Admission) -> Answer | None:
        """Wait for the work, which goes on without its caller if the rules say so; None: cut the connection."""
        half_done: asyncio.Future[Audio] = asyncio.get_running_loop().create_future()
        work = self._begin(self._work(admission, half_done))
        try:
            if admission.fault == "cut":
                await half_done
                if not admission.rules.hold_slot_until_done:
                    work.cancel()
                return None
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not admission.rules.hold_slot_until_done:
                work.cancel()
            raise

    async def _work(self, admission: Admission, half_done: asyncio.Future[Audio]) -> Answer:
        """Hold the slot for as long as the call takes, and say what comes of it."""
        call, rules, fault = admission.call, admission.rules, admission.fault
        answer = BAD_GATEWAY
        try:
            loop = asyncio.get_running_loop()
            audio: Audio = await loop.run_in_executor(self._speaking, audio_of, admission.ask.wishes)
            drawn_ms = work_ms(rules, admission.family, audio.duration_ms, admission.chance)
            whole_ms = rules.slow_ms if fault == "slow" else drawn_ms
            span_ms = min(whole_ms, rules.work_max_ms)
            await self._sleep_until(call.began_at_ms + span_ms // 2)
            if not half_done.done():  # its caller may have gone
                half_done.set_result(audio)
            await self._sleep_until(call.began_at_ms + span_ms)
            is_late = whole_ms > rules.work_max_ms
            answer = GATEWAY_TIMEOUT if is_late else _finished(admission, audio)
            fault = (fault or "work_max") if is_late else fault
        except asyncio.CancelledError:
            fault = "abandoned"
            raise
        finally:
            gauge = self.gauge(call.app_id, call.resource)
            gauge.count_end(call, fault=fault, is_bought=answer.is_bought, now_ms=self._clock.monotonic_ms())
            if rules.release_lag_ms and fault != "abandoned":
                self._begin(self._release_later(call.app_id, call.resource, rules.release_lag_ms))
            else:
                self._release(call.app_id, call.resource)
        return answer

    async def _release_later(self, app_id: str, resource: str, lag_ms: int) -> None:
        try:
            await self._clock.sleep(lag_ms)
        finally:
            self._release(app_id, resource)

    def _release(self, app_id: str, resource: str) -> None:
        self.gauge(app_id, resource).release(self._clock.monotonic_ms())
        self._announce_change()

    async def _sleep_until(self, at_ms: int) -> None:
        remaining_ms = at_ms - self._clock.monotonic_ms()
        if remaining_ms > 0:
            await self._clock.sleep(remaining_ms)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _announce_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _show(self, _request: web.Request) -> web.Response:
        report = self.gate.record.report(self._clock.monotonic_ms())
        return web.json_response({"rules": self.gate.rules.model_dump(mode="json"), **report})

    async def _show_calls(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.gate.record.calls])

    async def _show_page(self, _request: web.Request) -> web.Response:
        page = page_of(self.gate.record, self.gate.rules, self._clock.monotonic_ms())
        return web.Response(text=page, content_type="text/html")

    async def _order(self, request: web.Request) -> web.Response:
        try:
            self.obey(Orders.of(await request.json()))
        except (ValidationError, ValueError) as exc:
            return web.json_response({"error": str(exc)}, status=400)
        return await self._show(request)

    async def _name_answer(self, _request: web.Request, response: web.StreamResponse) -> None:
        at = dt.datetime.fromtimestamp(self._clock.wall_ms() / 1_000, tz=dt.UTC)
        response.headers["X-Tt-Logid"] = f"{at:%Y%m%d%H%M%S}{secrets.token_hex(10).upper()}"


def _reqid_of(raw: bytes) -> str:
    """Return the request id for a refusal's body; "" when there is none to be read."""
    try:
        body = json.loads(raw)
    except ValueError:
        return ""
    reqid = section(body, "request").get("reqid") if isinstance(body, dict) else None
    return reqid if isinstance(reqid, str) else ""


def _finished(admission: Admission, audio: Audio) -> Answer:
    return v3_answer_of(admission, audio) if admission.ask.api == "v3" else answer_of(admission, audio)


async def _begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    return response


def _broken_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """End the connection in the middle of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _cut(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _response(answer: Answer) -> web.Response:
    if isinstance(answer.content, str) and answer.content.startswith("<html>"):
        return web.Response(status=answer.status, text=answer.content, content_type="text/html")
    return web.json_response(answer.content, status=answer.status)
