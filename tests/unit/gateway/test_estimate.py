"""What a batch would cost, without buying anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.gateway import ADMIN_KEY, Bench, event
from tests.support.jobs import Workshop
from tests.support.long_texts import long_task, sentences
from volcengine_client.limits import LOOK_RESERVE_MS, STORE_REQUESTS_MAX

SMALL, DIALOGUE, NEW = "BV001_streaming", "zh_female_vv_jupiter_bigtts", "zh_female_vv_uranus_bigtts"
TASKS = [
    {"text": "known"},
    {"text": "new one"},
    {"text": "new one"},
    {"text": "big", "voice_type": "zh_female_cancan_mars_bigtts"},
    {"text": "big", "voice_type": "zh_female_cancan_mars_bigtts", "pitch": 2.5},
]


@pytest.mark.parametrize("path", ["/generate-batch", "/jobs"])
async def test_an_estimate_says_what_would_be_called_saved_and_refused_and_buys_nothing(
    path: str, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path, limit=2)
    bench = workshop.bench()
    await bench.post({"tasks": [{"text": "known"}]})
    asked = event("POST", path, body=json.dumps({"tasks": TASKS}), admin_key=ADMIN_KEY)
    told = await bench.ask({**asked, "rawQueryString": "dry_run=true"})

    assert told.status == 200
    assert (told.said["tasks"], told.said["calls"], told.said["saved"]) == (5, 2, 2)
    assert told.said["unchecked"] == 0
    assert [(one["index"], one["error"]["code"]) for one in told.said["refused"]] == [(4, "option_refused")]
    assert told.said["characters"] == {
        "bought": 10,
        "saved": 12,
        "by_product": {"small-model": 7, "seed-tts-1.0": 3},
    }
    assert workshop.bought() == {"known": 1}
    assert len(workshop.messages.sent) == 0


async def test_what_there_is_no_time_to_look_for_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, however many tasks."""
    workshop = Workshop(tmp_path, limit=2)
    bench = workshop.bench()
    await bench.post({"tasks": [{"text": f"text {number}"} for number in range(10)]})
    about, asked_count, slow_after = workshop.store.files.about, 0, 200

    async def slow(name: str) -> Mapping[str, str] | None:
        nonlocal asked_count
        asked_count += 1
        if asked_count > slow_after:
            await asyncio.sleep(60)
        return await about(name)

    monkeypatch.setattr(workshop.store.files, "about", slow)
    body = json.dumps({"tasks": [{"text": f"text {number}"} for number in range(1_000)]})
    asked = event("POST", "/jobs", body=body, admin_key=ADMIN_KEY)
    told = await bench.ask({**asked, "rawQueryString": "dry_run=true"}, remaining_ms=LOOK_RESERVE_MS + 2_000)

    assert told.status == 200
    assert (told.said["calls"], told.said["saved"], told.said["unchecked"]) == (990, 10, 800)
    assert asked_count <= slow_after + STORE_REQUESTS_MAX


async def test_a_wish_that_is_neither_true_nor_false_is_refused(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    asked = event("POST", "/generate-batch", body=json.dumps({"tasks": TASKS}), admin_key=ADMIN_KEY)
    told = await workshop.bench().ask({**asked, "rawQueryString": "dry_run=maybe"})

    assert told.status == 422
    assert not workshop.voice.spoken


async def test_a_long_text_is_estimated_by_its_segments(tmp_path: Path) -> None:
    """What is known of it is saved, and a segment that comes twice is called once."""
    workshop = Workshop(tmp_path, limit=2)
    bench = workshop.bench()
    tasks = [
        {"text": long_task(2).text, "encoding": "pcm"},
        {"text": long_task(6).text, "encoding": "pcm"},
        {"text": long_task(3, first=4).text, "encoding": "pcm"},
    ]
    await bench.post({"tasks": tasks[:1]})
    asked = event("POST", "/generate-batch", body=json.dumps({"tasks": tasks}), admin_key=ADMIN_KEY)
    told = await bench.ask({**asked, "rawQueryString": "dry_run=true"})

    assert (told.said["tasks"], told.said["calls"], told.said["saved"]) == (3, 5, 1)
    assert told.said["characters"]["bought"] == sum(map(len, sentences(5, first=2)))
    assert told.said["characters"]["saved"] == sum(map(len, sentences(2))) * 2 + sum(map(len, sentences(2, first=4)))


async def test_what_an_account_could_not_speak_is_refused_with_the_reason() -> None:
    tasks = [{"text": "a", "voice_type": voice} for voice in (SMALL, DIALOGUE, NEW)]
    body = {"tasks": tasks, "credentials": {"volcengine_tts_api_key": "key"}}
    request = event("POST", "/generate-batch", body=json.dumps(body), admin_key=ADMIN_KEY)
    told = await Bench().ask({**request, "rawQueryString": "dry_run=true"})

    assert [one["index"] for one in told.said["refused"]] == [0, 1]
    assert "an app id and an access key" in told.said["refused"][0]["error"]["message"]
    assert "speech-to-speech" in told.said["refused"][1]["error"]["message"]
