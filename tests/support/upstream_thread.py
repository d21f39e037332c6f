"""The simulated upstream in a thread of its own, so that a blocking client does not stop it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from infra.local.upstream import Account, Rules, Upstream

APP_ID = "app"
ACCESS_KEY = "canary-access-key"


@contextmanager
def upstream_in_a_thread(*, limit: int, mean_ms: int) -> Iterator[Upstream]:
    """Let an upstream serve one account."""
    loop = asyncio.new_event_loop()
    account = Account(app_id=APP_ID, token=SecretStr(ACCESS_KEY), limit=limit)
    served = Upstream(Rules(accounts=(account,), mean_ms=mean_ms, sigma=0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(served.start(), loop).result()
    try:
        yield served
    finally:
        asyncio.run_coroutine_threadsafe(served.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
