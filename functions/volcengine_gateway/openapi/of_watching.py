"""The routes that tell how the gateway is doing, and of themselves."""

from __future__ import annotations

from http import HTTPStatus

from volcengine_client.errors import PoolTableError, UnknownPoolError
from volcengine_gateway.openapi.operation import OPERATORS, Example, Operation, Parameter, Reply
from volcengine_gateway.problems import UnknownRouteError
from volcengine_gateway.report import WholePoolTold
from volcengine_gateway.told import HealthTold, PoolsTold

TAG = "Watching"
KEPT = ("Cache-Control", "ETag")
UNCHANGED = Reply("It is what the caller has.", (), KEPT)
KNOWN = Parameter("header", "If-None-Match", "The `ETag` of what the caller has.", {"type": "string"})
POOL = {"pool": "server", "limit": 10, "cap": None, "slots_in_use": 1}


def operations() -> tuple[Operation, ...]:
    """Return what is said of them."""
    return (_health(), _pools(), _pool(), _document(), _page())


def _health() -> Operation:
    return Operation(
        method="get",
        path="/",
        name="health",
        tag=TAG,
        summary="Tell that the service lives, and how busy it is.",
        description="No key is needed. The answer is at most a second old.",
        login="anybody",
        replies={HTTPStatus.OK: Reply("It lives.", (HealthTold,))},
        examples=(
            Example(
                name="alive",
                summary="Whether it lives",
                answer={
                    "status": "ok",
                    "service": "volcengine-concurrent-tts",
                    "version": "3.0.0",
                    "limit": 10,
                    "slots_in_use": 3,
                },
            ),
        ),
    )


def _pools() -> Operation:
    return Operation(
        method="get",
        path="/pools",
        name="list_pools",
        tag=TAG,
        summary="List the pools and their figures.",
        login="operator",
        replies={HTTPStatus.OK: Reply("The first hundred.", (PoolsTold,))},
        errors=(*OPERATORS, PoolTableError),
        examples=(
            Example(
                name="all",
                summary="All of them",
                answer={"pools": [{**POOL, "participants": 1}], "pools_count": 1},
            ),
        ),
    )


def _pool() -> Operation:
    participant = {
        "holder": "q7Fz0aBk",
        "app": "audiobook",
        "weight": 1,
        "is_background": True,
        "want": 1,
        "limit": 10,
        "held": 1,
        "slots": [0],
        "since_ms": 1_767_225_600_000,
        "waited_ms": None,
        "position": None,
        "why": "has the 1 slot that it wants or may hold",
    }
    slot = {
        "slot": 0,
        "holder": "q7Fz0aBk",
        "app": "audiobook",
        "expires_at_ms": 1_767_225_680_000,
        "is_shut": False,
        "is_free": False,
        "why": "held by app audiobook",
    }
    return Operation(
        method="get",
        path="/pools/{pool}",
        name="show_pool",
        tag=TAG,
        summary="Tell who holds and who waits in a pool, and why.",
        login="operator",
        parameters=(
            Parameter("path", "pool", "Its name; the main account's is `server`.", {"type": "string"}, "server"),
        ),
        replies={HTTPStatus.OK: Reply("All of it.", (WholePoolTold,))},
        errors=(*OPERATORS, PoolTableError, UnknownPoolError, UnknownRouteError),
        examples=(
            Example(
                name="main",
                summary="The main account's",
                path={"pool": "server"},
                answer={
                    **POOL,
                    "why_cut": None,
                    "now_ms": 1_767_225_600_000,
                    "slots": [slot],
                    "participants": [participant],
                },
            ),
        ),
    )


def _document() -> Operation:
    return Operation(
        method="get",
        path="/openapi.json",
        name="openapi",
        tag=TAG,
        summary="This document, as OpenAPI 3.1.",
        login="anybody",
        replies={HTTPStatus.OK: Reply("The document.", (dict,), KEPT), HTTPStatus.NOT_MODIFIED: UNCHANGED},
        parameters=(KNOWN,),
        examples=(Example(name="document", summary="The document"),),
    )


def _page() -> Operation:
    return Operation(
        method="get",
        path="/docs",
        name="docs",
        tag=TAG,
        summary="This document, as a page.",
        login="anybody",
        replies={
            HTTPStatus.OK: Reply("The page.", (str,), KEPT, ("text/html",)),
            HTTPStatus.NOT_MODIFIED: UNCHANGED,
        },
        parameters=(KNOWN,),
        examples=(Example(name="page", summary="The page"),),
    )
