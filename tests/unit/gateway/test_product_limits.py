"""An account whose products are counted by themselves: batches and jobs take part in each one's own pool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.support.gateway import ADMIN_KEY, event, keyring
from tests.support.jobs import Workshop
from volcengine_client.pool.slots import Limit
from volcengine_gateway.secret import FixedKeys

NEW_VOICE = "zh_female_vv_uranus_bigtts"
TASKS = [{"text": f"{number}", "voice_type": voice} for number in range(6) for voice in ("BV001_streaming", NEW_VOICE)]


def workshop_of(folder: Path) -> Workshop:
    keys = keyring(n=2)
    assert keys.main is not None
    main = replace(keys.main, products={"seed-tts-2.0": Limit(3, 1)})
    return Workshop(folder, limit=5, keys=FixedKeys(replace(keys, main=main)))


async def limits_of(workshop: Workshop) -> dict[str, int]:
    told = await workshop.bench().ask(event("GET", "/pools", admin_key=ADMIN_KEY))
    return {pool["pool"]: pool["limit"] for pool in told.said["pools"]}


async def test_a_batch_is_spoken_over_the_pools_of_its_products(tmp_path: Path) -> None:
    workshop = workshop_of(tmp_path)
    told = await workshop.bench().post({"tasks": TASKS})

    assert [result["error"] for result in told.said["results"]] == [None] * 12
    assert told.said["pool"]["limit"] == 5
    assert max(workshop.voice.peak.values()) == 5
    assert await limits_of(workshop) == {"server": 2, "server:seed-tts-2.0": 3}


async def test_a_job_is_spoken_over_the_pools_of_its_products(tmp_path: Path) -> None:
    workshop = workshop_of(tmp_path)
    job_id = await workshop.submit([], tasks=TASKS)
    await workshop.slice(job_id)

    assert [result["error"] for result in await workshop.results(job_id)] == [None] * 12
    assert max(workshop.voice.peak.values()) == 5
    assert await limits_of(workshop) == {"server": 2, "server:seed-tts-2.0": 3}


async def test_a_wish_for_less_holds_in_each_pool(tmp_path: Path) -> None:
    workshop = workshop_of(tmp_path)
    told = await workshop.bench().post({"tasks": TASKS, "credentials": {"volcengine_tts_concurrency": 1}})

    assert [result["error"] for result in told.said["results"]] == [None] * 12
    assert max(workshop.voice.peak.values()) == 2


async def test_one_product_alone_never_joins_the_pool_of_the_others(tmp_path: Path) -> None:
    workshop = workshop_of(tmp_path)
    told = await workshop.bench().post({"tasks": [task for task in TASKS if task["voice_type"] == NEW_VOICE]})

    assert told.said["pool"]["limit"] == 3
    assert json.dumps(await limits_of(workshop)) == '{"server:seed-tts-2.0": 3}'
