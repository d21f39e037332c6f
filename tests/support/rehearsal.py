"""The self-hosted server in this process, with a simulated upstream: for whoever asks through ASGI."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import schemathesis
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import positive_data_acceptance

from infra.local.upstream import Rules, Upstream
from volcengine_client.clock import SystemClock
from volcengine_client.limits import SERVER_ANSWER_BYTES_MAX, SERVER_BODY_BYTES_MAX
from volcengine_gateway.openapi.document import document
from volcengine_gateway.server import Application
from volcengine_gateway.settings import ServerSettings
from volcengine_gateway.signed_files import Receive, Scope, Send

ADMIN_KEY = "the-admin-key"
LIMIT = 10
REFUSED = {400, 413, 415, 422}


class Rehearsal:
    """An ASGI application whose upstream, and whose folder for jobs, live as long as it does."""

    def __init__(self) -> None:
        self._application: Application | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or live with an upstream that answers at once."""
        if scope["type"] != "lifespan":
            assert self._application is not None
            await self._application(scope, receive, send)
            return
        upstream = Upstream(Rules(limit=LIMIT, mean_ms=0))
        await upstream.start()
        with TemporaryDirectory() as folder:
            self._application = Application(settings_of(upstream.url, folder), clock=SystemClock())
            try:
                await self._application(scope, receive, send)
            finally:
                await upstream.stop()


def settings_of(endpoint: str, folder: str) -> ServerSettings:
    """Return the settings of a server with an account, that takes callers' own accounts too."""
    return ServerSettings(
        callers_credentials="anyone",
        app_id="1000000001",
        access_key="the-servers-access-key",
        admin_key=ADMIN_KEY,
        concurrency=LIMIT,
        endpoint=endpoint,
        data_folder=folder,
        body_bytes_max=SERVER_BODY_BYTES_MAX,
        answer_bytes_max=SERVER_ANSWER_BYTES_MAX,
    )


# Why a request is refused that fits its schema: what JSON Schema can't say, or what was before.
UNSAYABLE = (
    "A job is paid by an account of this gateway",
    "File name",
    "Give an account of the server or credentials",
    "No account has this name",
    "No list was uploaded under this id",
    "SSML",
    "This Idempotency-Key was used for another body",
    "belong together: give both or none",
    "a segment holds",
    "at least 1 item",  # of a batch that is to be a job
    "SSML",
    "callback_url",
    "dry_run wants its tasks in the body",
    "no such voice",
)


def routes(*, examples: int, seed: int | None = None) -> schemathesis.BaseSchema:
    """Return the routes as their document says, over a server in this process that starts with the first request.

    Args:
        examples: Made-up requests a route, beside those that are shown and those at the edges of what may be sent.
        seed: Of what is made up; None: the same every time.
    """
    generation = {"mode": "all", "max-examples": examples, "deterministic": seed is None}
    told = {
        "base-url": "http://testserver",
        "auth": {"openapi": {"AdminKey": {"api_key": ADMIN_KEY}, "Bearer": {"bearer": ADMIN_KEY}}},
        "generation": generation,
        **({} if seed is None else {"seed": seed}),
    }
    found = schemathesis.openapi.from_dict(copy.deepcopy(document()), config=schemathesis.Config.from_dict(told))
    found.app = Rehearsal()
    return found


@contextmanager
def living(schema: schemathesis.BaseSchema) -> Iterator[None]:
    """Let the server of these routes live until the end."""
    with asgi.get_client(schema.app):
        yield
    asgi.shutdown_lifespans()


def ask(case: schemathesis.Case[Any]) -> None:
    """Send a request that was made up, and hold the answer against the document by all of schemathesis' checks."""
    # This one takes a schema for all that there is to say; ours below asks for the reason.
    case.call_and_validate(additional_checks=[_says_why], excluded_checks=[positive_data_acceptance])


def _says_why(_context: Any, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """Let a request that fits its schema be refused only for what a schema can't say."""
    is_good = case.meta is not None and case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE
    if is_good and response.status_code in REFUSED:
        message = response.json()["error"]["message"]
        assert any(reason in message for reason in UNSAYABLE), message
