"""Do the routes keep what their document says, however many requests are made up of it? Another seed every time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.support.rehearsal import ask, living, routes

# The server draws its waits in a thread of its own, which hypothesis takes for a strategy that does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
EXAMPLES = 500
SEED = secrets.randbits(32)
asked = routes(examples=EXAMPLES, seed=SEED)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    print(f"\nseed {SEED}")  # noqa: T201
    with living(asked):
        yield


@asked.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_a_route_keeps_what_its_document_says(case: schemathesis.Case[Any]) -> None:
    ask(case)
