"""`volcengine-tts status`: the pool, who holds, who waits and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from volcengine_client.cli import access, endings
from volcengine_client.cli.endings import out
from volcengine_client.errors import GatewayUnavailableError
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import PoolStatus


def status(
    pool: Annotated[str | None, typer.Argument(help="The pool's name.", show_default="the account's")] = None,
    *,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
    account: access.AccountOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="With --watch: seconds between looks.")] = 1.0,
) -> None:
    """Tell of a gateway's pool: its limit, who has slots, who waits for one and why."""
    with endings.told(), access.gateway_client(gateway, admin_key_file, account) as client:
        if watch:
            asyncio.run(_watch(client, pool, every_s))
        else:
            endings.show(told_of(client.status_sync(pool)))


async def _watch(client: GatewayClient, pool: str | None, every_s: float) -> None:
    """Show the pool until interrupted; one look that fails is told and not the end."""
    shown = told_of(await client.status_async(pool))
    with Live(shown, console=out, auto_refresh=False) as live:
        while True:
            await asyncio.to_thread(live.refresh)
            await asyncio.sleep(every_s)
            try:
                live.update(told_of(await client.status_async(pool)))
            except GatewayUnavailableError as exc:
                live.update(Text(exc.message))


def told_of(pool: PoolStatus) -> Group:
    """Return a pool as it is shown."""
    limit = "?" if pool.limit is None else pool.limit
    head = Text(f"Pool {pool.pool}: {pool.slots_in_use} of {limit} slots in use", style="bold")
    parts: list[Text | Table] = [head]
    if pool.why_cut:
        parts.append(Text(pool.why_cut))
    taken = [slot for slot in pool.slots if not slot.is_free]
    if taken:
        slots = Table("slot", "app", "", box=None)
        for slot in taken:
            slots.add_row(str(slot.slot), Text(slot.app or ""), Text(slot.why))
        parts.append(slots)
    if pool.participants:
        waiters = Table("turn", "app", "has", "wants", "waited", "why", box=None)
        for one in pool.participants:
            waited = "" if one.waited_ms is None else f"{one.waited_ms / 1_000:.1f} s"
            turn = "" if one.position is None else str(one.position)
            waiters.add_row(turn, Text(one.app), str(one.held), str(one.want), waited, Text(one.why))
        parts.append(waiters)
    else:
        parts.append(Text("Nobody holds a slot or waits for one."))
    return Group(*parts)
