"""Do the routes keep what their document says? Asked with good and bad requests that schemathesis makes up of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.support.rehearsal import ask, living, routes

# The server draws its waits in a thread of its own, which hypothesis takes for a strategy that does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
EXAMPLES = 10  # `make bench` has more
asked = routes(examples=EXAMPLES)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with living(asked):
        yield


@asked.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_route_keeps_what_its_document_says(case: schemathesis.Case[Any]) -> None:
    ask(case)
