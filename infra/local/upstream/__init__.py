"""The simulated upstream: Volcano Engine's v1 and v3 speech APIs on this machine, with its limits, refusals and faults.

It starts alone (`python -m infra.local.upstream --help`) or inside a test:

    upstream = Upstream(Rules(limit=10, mean_ms=100))
    await upstream.start()          # upstream.url says where
    await upstream.until(lambda: upstream.gauge("app id").in_flight == 10)
    assert upstream.gauge("app id").peak <= 10
    await upstream.stop()

The audio for a request is always the same: `audio_of(wishes_of(body)).file` with the request's JSON, or
`audio_of(Wishes(text, voice_type, …)).file`, are the bytes that answer it, in any process on this machine.
`slot_ms_between(steps, from_ms, to_ms)` tells from a gauge's steps how busy the slots were.
"""

from infra.local.upstream.asks import wishes_of
from infra.local.upstream.audio import Audio, Wishes, audio_of
from infra.local.upstream.orders import Orders
from infra.local.upstream.record import slot_ms_between
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.server import Upstream

__all__ = ["Account", "Audio", "Orders", "Rules", "Upstream", "Wishes", "audio_of", "slot_ms_between", "wishes_of"]
