"""The routes, the same for Lambda and for the self-hosted server: both hand in events of API Gateway's HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from volcengine_client.answer import answer_bytes_of
from volcengine_client.errors import CallerError, InvalidRequestError, UnknownJobError
from volcengine_client.limits import DOCUMENT_AGE_MAX_S, VOICES_AGE_MAX_S
from volcengine_client.models import BatchRequest, JobRequest, UploadedJobRequest, UploadRequest
from volcengine_client.voice_list import warn, warnings_of
from volcengine_gateway import openai
from volcengine_gateway.gateway import Gateway
from volcengine_gateway.incoming import (
    UNKNOWN,
    admin_key_in,
    batch_request_of,
    idempotency_key_in,
    is_dry_run,
    job_request_of,
    method_of,
    request_id_of,
    require_json,
    time_left_ms,
    wants_job,
)
from volcengine_gateway.jobs.service import UNKNOWN_JOB
from volcengine_gateway.jobs.store import CONTENT_TYPES
from volcengine_gateway.journal import Answered
from volcengine_gateway.openapi.document import document_page
from volcengine_gateway.openapi.page import docs_page
from volcengine_gateway.problems import (
    Answer,
    MethodNotAllowedError,
    Page,
    Shape,
    UnknownRouteError,
    answer_of_accepted,
    answer_of_audio,
    answer_of_batch,
    answer_of_created,
    answer_of_elsewhere,
    answer_of_error,
    answer_of_exception,
    answer_of_json,
    answer_of_methods,
    answer_of_openai_error,
    answer_of_page,
    guarded,
)
from volcengine_gateway.told import EstimateTold, taken_on
from volcengine_gateway.voice_page import voice_page

READ = ("GET", "HEAD")


Body = Callable[[], Awaitable[bytes]]


class TimeLeft(Protocol):
    """What is used of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        """Return how long this invocation may still take."""
        ...


@dataclass(slots=True)
class Turn:
    """One request on its way through.

    Attributes:
        event: As API Gateway sends it, format 2.0.
        context: Lambda's, or the server's.
        body: Reads the body; not called before the route, the headers and the admin key are right.
        request_id: By which the log and the answer name it.
        method: Of HTTP.
        route: The rule of the route that answered.
        answer: What it answered.
    """

    event: Mapping[str, Any]
    context: TimeLeft
    body: Body
    request_id: str
    method: str
    route: str = UNKNOWN
    answer: Answer | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with names in lower case."""
        return {name.lower(): value for name, value in (self.event.get("headers") or {}).items()}

    @property
    def query(self) -> Mapping[str, str]:
        """What the address asks for, empty values too; the first of equal names counts."""
        query = parse_qs(self.event.get("rawQueryString") or "", keep_blank_values=True)
        return {name: values[0] for name, values in query.items()}

    @property
    def shaped(self) -> Shape:
        """How the caller wants to be told of errors."""
        path = self.event.get("rawPath")
        return answer_of_openai_error if isinstance(path, str) and path.startswith(openai.PREFIX) else answer_of_error

    def answer_with(self, answer: Answer) -> Response[str | bytes]:
        """Remember the answer for the journal, and put it as the library wants it."""
        self.answer = answer
        headers = {"Cache-Control": "no-store", **answer.headers, "X-Request-Id": self.request_id}
        return Response(int(answer.status), answer.content_type if answer.body else None, answer.body, headers)


class Resolver(APIGatewayHttpResolver):
    """A resolver for many requests at a time.

    The library's own keeps the current event in one place for the whole process, which suits one invocation at a
    time. Here each task has its own, so that the self-hosted server can use the same routes.
    """

    def __init__(self) -> None:
        self._event: ContextVar[APIGatewayProxyEventV2] = ContextVar("event")
        self._context: ContextVar[dict[str, Any]] = ContextVar("context")
        super().__init__(debug=False)  # its debug mode prints events

    def _to_proxy_event(self, event: dict[str, Any]) -> BaseProxyEvent:
        proxied = super()._to_proxy_event(event)
        assert isinstance(proxied, APIGatewayProxyEventV2)
        self._event.set(proxied)
        self._context.set({})
        return proxied

    @property  # type: ignore[override]  # the library narrows the type in the same way
    def current_event(self) -> APIGatewayProxyEventV2:
        return self._event.get()

    @current_event.setter
    def current_event(self, event: APIGatewayProxyEventV2) -> None:
        self._event.set(event)

    @property
    def context(self) -> dict[str, Any]:
        return self._context.get()

    @context.setter
    def context(self, context: dict[str, Any]) -> None:
        self._context.set(context)

    def methods_of(self, path: str) -> list[str]:
        """Return the methods that the routes of *path* know; none when there is no such path."""
        routes = [*self._static_routes, *self._dynamic_routes]
        return sorted({route.method for route in routes if route.rule.match(path)})


class Routes:
    """The routes over one gateway, for any number of requests at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn: ContextVar[Turn] = ContextVar("turn")
        self._resolver = Resolver()
        self._resolver.not_found(self._no_route)
        self._add("/", READ, self.health)
        self._add("/openapi.json", READ, self.document)
        self._add("/docs", READ, self.docs)
        self._add("/voices", READ, self.voices)
        self._add("/generate-batch", ("POST",), self.generate_batch)
        self._add("/jobs", ("POST",), self.submit_job)
        self._add("/jobs", READ, self.jobs)
        self._add("/jobs/<job_id>", READ, self.job)
        self._add("/jobs/<job_id>", ("DELETE",), self.cancel_job)
        self._add("/v1/audio/speech", ("POST",), self.speech)
        self._add("/v1/models", READ, self.models)
        self._add("/v1/models/<model>", READ, self.model)
        self._add("/pools", READ, self.pools)
        self._add("/pools/<pool>", READ, self.pool)

    async def answer(self, event: Mapping[str, Any], context: TimeLeft, body: Body) -> dict[str, Any]:
        """Answer one event; whatever happens, with something that API Gateway understands."""
        began_at_ms = self._gateway.clock.monotonic_ms()
        turn = Turn(event, context, body, request_id_of(event), method_of(event))
        self._turn.set(turn)
        answer = await guarded(
            self._resolver.resolve_async(event, cast("LambdaContext", context)), lambda exc: self._failed(turn, exc)
        )
        assert turn.answer is not None
        duration_ms = self._gateway.clock.monotonic_ms() - began_at_ms
        self._gateway.journal.answered(
            Answered(turn.request_id, turn.route, turn.method, turn.answer.status, turn.answer.code, duration_ms)
        )
        return answer

    # --- one method a route ------------------------------------------------------

    async def health(self, _turn: Turn) -> Answer:
        """Tell that the service lives, and how busy it is."""
        return answer_of_json(await self._gateway.health())

    async def document(self, turn: Turn) -> Answer:
        """Describe the routes, to anybody."""
        return await self._kept(turn, document_page)

    async def docs(self, turn: Turn) -> Answer:
        """Describe the routes for people, to anybody."""
        return await self._kept(turn, docs_page)

    async def _kept(self, turn: Turn, page: Callable[[], Page]) -> Answer:
        known = turn.headers.get("if-none-match", "")
        return answer_of_page(await asyncio.to_thread(page), known=known, age_max_s=DOCUMENT_AGE_MAX_S)

    async def voices(self, turn: Turn) -> Answer:
        """Tell which voices there are, to anybody."""
        return answer_of_json(await asyncio.to_thread(voice_page, turn.query), age_max_s=VOICES_AGE_MAX_S)

    async def generate_batch(self, turn: Turn) -> Answer:
        """Speak the batch in the body."""
        deadline_at_ms = self._deadline_at_ms(turn)
        admin_key = admin_key_in(turn.headers)
        is_operator = await self._gateway.check_admin_key(admin_key)
        require_json(turn.headers)
        idempotency_key = idempotency_key_in(turn.headers)
        if wants_job(turn.headers) and self._gateway.has_jobs:
            return await self.submit_job(turn)
        if is_dry_run(turn.query):
            return await self._estimate(turn, batch_request_of(await turn.body()))
        with self._gateway.admitted(is_operator=is_operator):
            request = batch_request_of(await turn.body())
            response = await self._gateway.generate_batch(
                request,
                shown_admin_key=admin_key,
                deadline_at_ms=deadline_at_ms,
                idempotency_key=idempotency_key,
            )
        warn(response.results, request.tasks)
        return answer_of_batch(response, request_id=turn.request_id)

    async def submit_job(self, turn: Turn) -> Answer:
        """Take on the batch in the body as a job."""
        admin_key = admin_key_in(turn.headers)
        is_operator = await self._gateway.check_admin_key(admin_key)
        require_json(turn.headers)
        idempotency_key = idempotency_key_in(turn.headers)
        await self._gateway.jobs_for(admin_key)  # before a body of strangers is read
        with self._gateway.admitted(is_operator=is_operator):
            request = job_request_of(await turn.body())
            if not isinstance(request, JobRequest):
                return await self._upload(turn, request)
            if is_dry_run(turn.query):
                return await self._estimate(turn, request)
            told = await self._gateway.submit_job(request, shown_admin_key=admin_key, idempotency_key=idempotency_key)
        taken = taken_on(told, warnings_of(request.tasks))
        return answer_of_accepted(json.dumps(taken), location=told["status_url"])

    async def _upload(self, turn: Turn, request: UploadRequest | UploadedJobRequest) -> Answer:
        """Hand out an address to upload tasks to, or take on a job whose tasks were uploaded."""
        if is_dry_run(turn.query):
            raise InvalidRequestError.of_field(
                "dry_run", "dry_run wants its tasks in the body, a part of them at a time"
            )
        shown = admin_key_in(turn.headers)
        uploads = await self._gateway.uploads_for(shown)
        if isinstance(request, UploadRequest):
            return answer_of_created(json.dumps(uploads.hand_out(request)))
        told = await uploads.start(
            request,
            shown_admin_key=shown,
            idempotency_key=idempotency_key_in(turn.headers),
            deadline_at_ms=self._deadline_at_ms(turn),
        )
        return answer_of_accepted(json.dumps(told), location=told["status_url"])

    async def _estimate(self, turn: Turn, request: BatchRequest) -> Answer:
        """Tell what a batch would cost and take."""
        shown = admin_key_in(turn.headers)
        told = await self._gateway.estimate(request, shown_admin_key=shown, deadline_at_ms=self._deadline_at_ms(turn))
        estimate: EstimateTold = {**told, "warnings": warnings_of(request.tasks)}
        return answer_of_json(json.dumps(estimate))

    async def jobs(self, turn: Turn) -> Answer:
        """Tell of an account's jobs."""
        jobs = await self._gateway.jobs_for(admin_key_in(turn.headers))
        asked = turn.query
        wanted = {name: asked.get(name) for name in ("account", "app", "state", "after")}
        told = await jobs.list(**wanted)
        return answer_of_json(json.dumps(told))

    async def job(self, turn: Turn, job_id: str) -> Answer:
        """Tell of a job, and of a page of its results."""
        jobs = await self._gateway.jobs_for(admin_key_in(turn.headers))
        asked = {name: turn.query.get(name) for name in ("after", "limit", "account")}
        told = await jobs.show(job_id, **asked)
        return answer_of_json(json.dumps(told))

    async def cancel_job(self, turn: Turn, job_id: str) -> Answer:
        """Cancel a job."""
        jobs = await self._gateway.jobs_for(admin_key_in(turn.headers))
        return answer_of_json(json.dumps(await jobs.cancel(job_id, account=turn.query.get("account"))))

    async def pools(self, turn: Turn) -> Answer:
        """Tell of all pools, to the operator."""
        return answer_of_json(await self._gateway.pools(shown_admin_key=admin_key_in(turn.headers)))

    async def pool(self, turn: Turn, pool: str) -> Answer:
        """Tell who holds and who waits in a pool, to the operator."""
        shown = admin_key_in(turn.headers)
        return answer_of_json(await self._gateway.pool_report(unquote(pool), shown_admin_key=shown))

    # --- OpenAI's routes -----------------------------------------------------------

    async def speech(self, turn: Turn) -> Answer:
        """Speak one text for a client of OpenAI's."""
        deadline_at_ms = self._deadline_at_ms(turn)
        key = openai.api_key_in(turn.headers)
        is_operator = await self._gateway.check_api_key(key)
        require_json(turn.headers)
        idempotency_key = idempotency_key_in(turn.headers)
        settings, project = self._gateway.settings, turn.headers.get(openai.PROJECT)
        with self._gateway.admitted(is_operator=is_operator):
            request = openai.speech_batch_of(await turn.body(), project=project, voices=settings.openai_voices)
            response = await self._gateway.generate_batch(
                request,
                shown_admin_key=key,
                deadline_at_ms=deadline_at_ms,
                idempotency_key=idempotency_key,
                answer_bytes_max=answer_bytes_of(settings.audio_bytes_max),
            )
        sound = openai.sound_in(response)
        if sound.url:
            return answer_of_elsewhere(sound.url)
        return answer_of_audio(sound.audio, content_type=CONTENT_TYPES[request.tasks[0].encoding])

    async def models(self, turn: Turn) -> Answer:
        """Tell of the models, as OpenAI does."""
        await self._gateway.check_api_key(openai.api_key_in(turn.headers))
        return answer_of_json(json.dumps(openai.models()))

    async def model(self, turn: Turn, model: str) -> Answer:
        """Tell of one model."""
        await self._gateway.check_api_key(openai.api_key_in(turn.headers))
        return answer_of_json(json.dumps(openai.model_of(unquote(model))))

    # --- around them -------------------------------------------------------------

    def _add(self, rule: str, methods: tuple[str, ...], handle: Callable[..., Awaitable[Answer]]) -> None:
        async def respond(**arguments: str) -> Response[str | bytes]:
            turn = self._turn.get()
            turn.route = rule
            return turn.answer_with(await guarded(handle(turn, **arguments), lambda exc: self._answer_of(turn, exc)))

        self._resolver.route(rule, list(methods))(respond)

    def _no_route(self, _error: Exception) -> Response[str | bytes]:
        """Answer where no route fits: another method would, it is asked for them, or the path is unknown."""
        turn = self._turn.get()
        methods = self._resolver.methods_of(self._resolver.current_event.path)
        if methods and turn.method == "OPTIONS":
            return turn.answer_with(answer_of_methods([*methods, "OPTIONS"]))
        error: CallerError = UnknownRouteError("No route has this path; try POST /generate-batch")
        if methods:
            error = MethodNotAllowedError("This route knows other methods", details={"allow": [*methods, "OPTIONS"]})
        elif self._resolver.current_event.path.startswith("/jobs/"):
            error = UnknownJobError(UNKNOWN_JOB)  # an id that no route takes is told like any other
        return turn.answer_with(turn.shaped(error, request_id=turn.request_id))

    def _answer_of(self, turn: Turn, error: Exception) -> Answer:
        return answer_of_exception(
            error,
            request_id=turn.request_id,
            on_bug=lambda bug: self._gateway.journal.bug(bug, request_id=turn.request_id),
            shaped=turn.shaped,
        )

    def _failed(self, turn: Turn, error: Exception) -> dict[str, Any]:
        """Answer an event that is not API Gateway's, or that the library broke on."""
        response = turn.answer_with(self._answer_of(turn, error))
        return {"statusCode": response.status_code, "headers": response.headers, "body": response.body}

    def _deadline_at_ms(self, turn: Turn) -> int:
        clock = self._gateway.clock
        asked_at_ms = turn.event["requestContext"].get("timeEpoch")
        left_ms = time_left_ms(
            asked_at_ms=asked_at_ms if isinstance(asked_at_ms, int) else None,
            wall_ms=clock.wall_ms(),
            remaining_ms=turn.context.get_remaining_time_in_millis(),
            request_deadline_ms=self._gateway.settings.request_deadline_ms,
        )
        return clock.monotonic_ms() + left_ms
