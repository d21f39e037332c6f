"""Our pool beside its peers in real time: ten processes with twenty tasks each, ten calls at once allowed.

    make bench

The same texts, the same upstream and the same wire for all; calls take 0.6 s on average, log-normal. DynamoDB is
emulated in one process of this machine, so that a peer that asks it all the time also slows down itself. How the peers
are used is told in `tests/support/peer_gates.py`. Prints one line a peer, medians over `PEERS_ROUNDS` rounds, and keeps
them in `.local/bench/peers.json`:

- s: from the start until the last call ended; busy: share of slot time used until work ran short
- peak, refused: calls counted at once upstream, and calls refused there
- lost: tasks that ended without audio; twice: texts that were bought twice
- asks: requests to the table a call (to Redis: round trips)
- first: the longest that any process waited for its first call to be let in
- Jain: the index of fairness over the processes' mean times to a finished task; 1 is fair

Then one of four processes is killed while it holds slots. Calls last 6 s at most by agreement, so the locks of
`dynamo-dlm` last 6 s, an untouched count of `concurrency-limit` expires after 6 s, and our pool has the times of stage
`test`. Prints how long after the kill all slots were busy again upstream.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.local import embedded_aws
from infra.local.places import ROOT, free_port
from infra.local.waiting import until
from tests.support.crowd import ClientProcess, Results, Seen, Task, batch, expected_audio
from tests.support.peer_gates import LOCKS_TABLE
from tests.support.pictures import bars
from tests.support.pool_process import CLOCK, LIMIT, Ground, all_entered, pools_table, program
from tests.support.spans import jain
from volcengine_client.limits import DEFAULT_TIMES, TEST_TIMES, PoolTimes

CALLERS, TASKS, MEAN_MS = 10, 20, 600
KILLED_TASKS, KILLED_MAX_MS = 150, 25_000  # more to speak than can be spoken while slots are awaited
ROUNDS = int(os.environ.get("PEERS_ROUNDS", "3"))
TOLD = ROOT / ".local/bench/peers.json"
BATCHES = [batch(caller, TASKS) for caller in range(CALLERS)]
FIGURES = ("seconds", "busy", "peak", "refused", "lost", "twice", "requests_a_call", "first_wait_s", "jain")


@dataclass(frozen=True)
class Peer:
    """One way to keep the limit.

    Attributes:
        name: For the table.
        kind: As `tests.support.peer_process` knows it.
        calls_max: Calls that one process may make at once.
        has_one_waiter: Whether only one thread of a process waits at a time.
        is_shared: Whether the pool in the table is used.
        is_one_process: Whether one process speaks all batches.
    """

    name: str
    kind: str = "pool"
    calls_max: int = LIMIT
    has_one_waiter: bool = False
    is_shared: bool = False
    is_one_process: bool = False


PEERS = (
    Peer("one process alone", is_one_process=True),
    Peer("our pool", is_shared=True),
    Peer("dynamo-dlm 2.1.0", "dynamo-dlm"),
    Peer("dynamo-dlm, one waiter a process", "dynamo-dlm", has_one_waiter=True),
    Peer("concurrency-limit 1.2.0, Redis", "concurrency-limit"),
    Peer("concurrency-limit, one waiter", "concurrency-limit", has_one_waiter=True),
    Peer("a fixed tenth for each", calls_max=LIMIT // CALLERS),
    Peer("no coordination", "open"),
)
KILLED = PEERS[1], PEERS[3], PEERS[5]  # each in its kindest use


class PeerProcess(ClientProcess):
    """A process that speaks through one peer."""

    @classmethod
    @asynccontextmanager
    async def running(cls, orders: dict[str, Any], table_url: str) -> AsyncIterator[PeerProcess]:
        """Start it, ready; end it at the end."""
        process = cls(await program("tests.support.peer_process", AWS_ENDPOINT_URL=table_url))
        try:
            await process._tell(json.dumps(orders))
            assert await process._hear() == "ready", "the process ended at once"
            yield process
        finally:
            await process.end()

    async def outcome(self) -> dict[str, Any]:
        """Return its results and what it asked of the table."""
        outcome: dict[str, Any] = json.loads(await self._hear())
        return outcome


@pytest.fixture(scope="module")
def table_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pools_table(tmp_path_factory.mktemp("table")) as url:
        embedded_aws.client("dynamodb", url).create_table(
            TableName=LOCKS_TABLE,
            KeySchema=[
                {"AttributeName": "resource_id", "KeyType": "HASH"},
                {"AttributeName": "concurrency_id", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "resource_id", "AttributeType": "S"},
                {"AttributeName": "concurrency_id", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield url


@contextmanager
def redis_server(command: str, scratch: Path) -> Iterator[redis.Redis]:
    """Run a Redis server on a free port that keeps nothing."""
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(scratch)]
    process = subprocess.Popen([command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    client = redis.Redis(host="127.0.0.1", port=port)
    try:
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


async def answers(cache: redis.Redis) -> None:
    """Return when the server answers."""

    async def does() -> bool:
        try:
            return bool(cache.ping())
        except redis.ConnectionError:
            return False

    await until(does, what="redis-server answers", within_ms=10_000, clock=CLOCK)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[redis.Redis | None]:
    """Return a Redis server; None when there is none on this machine."""
    command = shutil.which("redis-server")
    if command is None:
        print("\nno redis-server here, so concurrency-limit is left out; on Debian: apt-get install redis-server")  # noqa: T201
        yield None
        return
    with redis_server(command, tmp_path) as client:
        await answers(client)
        yield client


def possible(peers: Iterable[Peer], cache: redis.Redis | None) -> list[Peer]:
    """Return those that have what they need."""
    return [peer for peer in peers if cache is not None or peer.kind != "concurrency-limit"]


async def test_peers(table_url: str, cache: redis.Redis | None) -> None:
    measured: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in possible(PEERS, cache)}
    for _ in range(ROUNDS):
        for peer in possible(PEERS, cache):
            measured[peer.name].append(await play(peer, table_url, cache))
            tell(peer.name, measured[peer.name][-1])
    rows: list[dict[str, Any]] = [
        {"name": name, **{figure: statistics.median(one[figure] for one in rounds) for figure in FIGURES}}
        for name, rounds in measured.items()
    ]
    print(f"\nmedians of {ROUNDS}")  # noqa: T201
    for row in rows:
        tell(row["name"], row)
    keep(rows=rows)
    draw(rows)


async def test_one_of_four_is_killed(table_url: str, cache: redis.Redis | None) -> None:
    rows = []
    for peer in possible(KILLED, cache):
        row = {"name": peer.name, **await kill_one(peer, table_url, cache)}
        rows.append(row)
        back = (
            f"busy again after {row['back_s']:5.1f} s"
            if row["back_s"]
            else f"not back in {KILLED_MAX_MS / 1_000:.0f} s"
        )
        print(  # noqa: T201
            f"{peer.name:<32} {row['held']} slots held by the killed one, {back}  peak {row['peak']}"
            f"  refused {row['refused']}",
            flush=True,
        )
    keep(killed=rows)


@asynccontextmanager
async def crew(
    peer: Peer,
    batches: Sequence[Sequence[Task]],
    table_url: str,
    cache: redis.Redis | None,
    *,
    times: PoolTimes = DEFAULT_TIMES,
) -> AsyncIterator[tuple[Ground, list[PeerProcess]]]:
    """Start a process for each batch, all ready."""
    async with Ground.of(table_url, mean_ms=MEAN_MS) as ground, AsyncExitStack() as stack:
        orders = {**orders_for(peer, ground, cache), "times": asdict(times)}
        running = [PeerProcess.running({**orders, "tasks": list(tasks)}, table_url) for tasks in batches]
        processes = await all_entered(stack, running)
        if cache is not None:
            cache.config_resetstat()
        await ground.simulator.order(reset=True)
        yield ground, processes


async def play(peer: Peer, table_url: str, cache: redis.Redis | None) -> dict[str, float]:
    """Let ten processes speak through *peer*, and return the figures."""
    batches = [[task for turn in zip(*BATCHES, strict=True) for task in turn]] if peer.is_one_process else BATCHES
    async with crew(peer, batches, table_url, cache) as (ground, processes):
        since_ms: int = (await ground.simulator.record()).report["since_ms"]
        for process in processes:
            await process.go()
        outcomes = [await process.outcome() for process in processes]
        seen = await ground.seen()
    asked = sum(sum(outcome["requests"].values()) for outcome in outcomes)
    if cache is not None and peer.kind == "concurrency-limit":
        asked = round_trips(cache)
    spoken = await asyncio.to_thread(spoken_count, batches, [outcome["results"] for outcome in outcomes])
    return {**figures(seen, since_ms), "lost": CALLERS * TASKS - spoken, "requests_a_call": asked / seen.gauge["calls"]}


async def kill_one(peer: Peer, table_url: str, cache: redis.Redis | None) -> dict[str, Any]:
    """Kill one of four processes that all hold slots, and return when all slots were busy again upstream."""
    batches = [batch(caller, KILLED_TASKS) for caller in range(4)]
    async with crew(peer, batches, table_url, cache, times=TEST_TIMES) as (ground, processes):
        for process in processes:
            await process.go()

        async def all_speak() -> bool:
            seen = await ground.seen()
            return seen.gauge["in_flight"] == LIMIT and all(speaking(seen, tasks) for tasks in batches)

        await until(all_speak, what="all speak", within_ms=30_000, clock=CLOCK)
        processes[0].process.kill()
        killed_at_ms = CLOCK.monotonic_ms()
        held = speaking(await ground.seen(), batches[0])

        async def are_back() -> bool:
            is_over = CLOCK.monotonic_ms() > killed_at_ms + KILLED_MAX_MS
            return is_over or full_again_ms(await ground.seen(), killed_at_ms) is not None

        await until(are_back, what="the slots are back", within_ms=2 * KILLED_MAX_MS, clock=CLOCK)
        seen = await ground.seen()
    back_ms = full_again_ms(seen, killed_at_ms)
    return {
        "held": held,
        "back_s": None if back_ms is None else back_ms / 1_000,
        "peak": seen.gauge["peak"],
        "refused": sum(seen.gauge["refusals"].values()),
    }


def speaking(seen: Seen, tasks: Sequence[Task]) -> int:
    """Return how many calls for *tasks* are in progress."""
    texts = {task["text"] for task in tasks}
    return sum(call["text"] in texts and call["ended_at_ms"] is None for call in seen.calls)


def full_again_ms(seen: Seen, killed_at_ms: int) -> int | None:
    """Return how long after the kill all slots were busy, once the calls of the killed one had ended."""
    steps = [(at_ms, count) for at_ms, count in seen.gauge["steps"] if at_ms > killed_at_ms + 3 * MEAN_MS]
    return next((at_ms - killed_at_ms for at_ms, count in steps if count == LIMIT), None)


def orders_for(peer: Peer, ground: Ground, cache: redis.Redis | None) -> dict[str, Any]:
    """Return what a process of *peer* is told."""
    pool = {"table": "pools", "name": ground.account, "region": embedded_aws.REGION, "endpoint_url": ground.table_url}
    return {
        "peer": peer.kind,
        "limit": LIMIT,
        "calls_max": peer.calls_max,
        "has_one_waiter": peer.has_one_waiter,
        "client": {"app_id": ground.account, "access_key": "key", "endpoint": ground.upstream_url},
        "pool": pool if peer.is_shared else None,
        "redis_port": None if cache is None else cache.get_connection_kwargs()["port"],
    }


def round_trips(cache: redis.Redis) -> int:
    """Return how often `concurrency-limit` asked: it counts, adds itself and counts again at once, and removes itself.

    The second counting is part of the round trip of the adding, so that there are as many as countings and removals.
    """
    commands: Any = cache.info("commandstats")
    return sum(int(commands.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("hlen", "hdel"))


def spoken_count(batches: Sequence[Sequence[Task]], answers_of: Sequence[Results]) -> int:
    """Return how many tasks have audio, and make sure that it is their own."""
    count = 0
    for tasks, results in zip(batches, answers_of, strict=True):
        for task, result in zip(tasks, results, strict=True):
            if result["error"] is None:
                count += 1
                assert base64.b64decode(result["audio_base64"]) == expected_audio(task)
    return count


def figures(seen: Seen, since_ms: int) -> dict[str, float]:
    """Return what the upstream's record tells."""
    admitted = replace(seen, calls=[call for call in seen.calls if call["outcome"] == "spoken"])
    served = [tasks for tasks in BATCHES if spoken_s(admitted, tasks, since_ms)]
    means_s = [statistics.fmean(spoken_s(admitted, tasks, since_ms)) for tasks in served]
    return {
        "seconds": (seen.gauge["last_end_at_ms"] - since_ms) / 1_000,
        "busy": admitted.busy(),
        "peak": seen.gauge["peak"],
        "refused": sum(seen.gauge["refusals"].values()),
        "twice": sum(counts.get("bought", 0) > 1 for counts in seen.gauge["texts"].values()),
        "first_wait_s": max(admitted.first_wait_ms(tasks, since_ms=since_ms) for tasks in served) / 1_000,
        "jain": jain(means_s),
    }


def spoken_s(admitted: Seen, tasks: Sequence[Task], since_ms: int) -> list[float]:
    """Return when each of *tasks* was spoken, seconds from the start."""
    texts = {task["text"] for task in tasks}
    return [(call["ended_at_ms"] - since_ms) / 1_000 for call in admitted.calls if call["text"] in texts]


def tell(name: str, row: Mapping[str, Any]) -> None:
    """Print one line."""
    print(  # noqa: T201
        f"{name:<32} {row['seconds']:5.1f} s  busy {row['busy']:6.1%}  peak {row['peak']:2.0f}"
        f"  refused {row['refused']:3.0f}  lost {row['lost']:3.0f}  twice {row['twice']:2.0f}"
        f"  asks {row['requests_a_call']:6.1f}  first {row['first_wait_s']:5.2f} s  Jain {row['jain']:5.3f}",
        flush=True,
    )


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw what the peers leave unused and what they ask, for README."""
    names = [row["name"] for row in rows]
    pictures = {
        "peers-idle": bars(
            "Slot time left unused, %",
            names,
            {"idle": [round(100 * (1 - row["busy"]), 1) for row in rows]},
            show_legend=False,
            height=320,
        ),
        "peers-requests": bars(
            "Requests to the table, or to Redis, for a call",
            names,
            {"requests": [round(row["requests_a_call"], 1) for row in rows]},
            show_legend=False,
            height=320,
        ),
    }
    for name, picture in pictures.items():
        (TOLD.parent / f"{name}.svg").write_bytes(picture.render())


def keep(**parts: Any) -> None:
    """Write figures down for those who draw them, beside those that are there."""
    TOLD.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(TOLD.read_text(encoding="utf-8")) if TOLD.exists() else {}
    content = {**kept, "when_utc": datetime.now(UTC).isoformat(timespec="seconds"), **parts}
    TOLD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
