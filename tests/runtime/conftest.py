"""The function in Lambda's own runtime, and the emulated AWS that it uses."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local import embedded_aws
from infra.local.places import Places, port
from infra.local.processes import stop
from infra.local.waiting import ready
from tests.support.emulated_function import EmulatedFunction, emulated_function
from tests.support.runtime_emulator import Layout
from volcengine_client.clock import SystemClock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The emulator is a program for Linux."""
    if sys.platform != "linux":
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.skip(reason="the Runtime Interface Emulator runs on Linux only"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def aws_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of an emulated AWS."""
    places = Places(tmp_path_factory.mktemp("aws"))
    number = port(places, "aws", wanted=None, setting="")
    daemon = embedded_aws.launch(places, stage="test", port=number)
    try:
        await ready(daemon, embedded_aws.health_url(number), log=places.log("aws"), clock=SystemClock())
        yield embedded_aws.endpoint(number)
    finally:
        await asyncio.to_thread(stop, [daemon])
        await asyncio.to_thread(shutil.rmtree, places.scratch)


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The code as Lambda lays it out."""
    return Layout.of(tmp_path_factory.mktemp("lambda"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, aws_url: str
) -> AsyncIterator[EmulatedFunction]:
    """A warm function, which has spoken once."""
    async with emulated_function(tmp_path_factory.mktemp("function"), layout=layout, aws_url=aws_url) as function:
        first = await function.invoke("generate_batch")
        assert first.status == 200, function.emulator.log
        yield function
