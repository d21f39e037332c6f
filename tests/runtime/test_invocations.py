"""What one invocation leaves to the next: loop, connections, the secret, the pool's state; and no slot."""

from __future__ import annotations

import signal

import pytest

from tests.support.emulated_function import EmulatedFunction

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = "POST /api/v1/tts"


async def test_before_the_first_call_of_a_warm_function_there_is_one_round_trip_to_the_table(
    function: EmulatedFunction,
) -> None:
    function.notes.clear()

    answer = await function.invoke("generate_batch")

    assert answer.status == 200
    assert function.notes[: function.notes.index(CALL)] == ["UpdateItem"]
    assert function.notes == ["UpdateItem", CALL, CALL, "UpdateItem"]


async def test_connections_and_process_survive_from_one_invocation_to_the_next(function: EmulatedFunction) -> None:
    await function.invoke("generate_batch")
    before = function.to_aws.connection_count, function.to_upstream.connection_count
    process = function.emulator.function

    for _ in range(3):
        assert (await function.invoke("generate_batch")).status == 200

    assert (function.to_aws.connection_count, function.to_upstream.connection_count) == before
    assert function.emulator.function == process


async def test_the_secret_is_read_once(function: EmulatedFunction) -> None:
    function.notes.clear()

    for name in ("generate_batch", "pools", "generate_batch_own_credentials"):
        assert (await function.invoke(name)).status == 200

    assert "GetSecretValue" not in function.notes


async def test_no_slot_is_held_when_an_invocation_has_ended(function: EmulatedFunction) -> None:
    await function.invoke("generate_batch")

    pool = await function.invoke("pool")

    assert pool.body["slots"] == []
    assert pool.body["participants"] == []


async def test_a_function_thawed_to_cut_connections_speaks_each_text_once(function: EmulatedFunction) -> None:
    """Lambda freezes the process between invocations, and the other sides close what idles."""
    await function.invoke("generate_batch")
    function.emulator.function.send_signal(signal.SIGSTOP)
    await function.to_aws.cut()
    await function.to_upstream.cut()
    function.emulator.function.send_signal(signal.SIGCONT)
    calls, bought = function.gauge.calls, function.gauge.bought

    answer = await function.invoke("generate_batch")

    assert answer.status == 200
    assert all(result["error"] is None for result in answer.body["results"])
    assert (function.gauge.calls - calls, function.gauge.bought - bought) == (2, 2)
    assert (await function.invoke("pool")).body["slots"] == []
