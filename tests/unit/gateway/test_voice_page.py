"""`GET /voices`, and what is told of voices that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.gateway import ADMIN_KEY, Bench, Told, event
from tests.support.jobs import Workshop
from volcengine_client import voices
from volcengine_client.errors import VoiceNotGrantedError
from volcengine_client.limits import VOICES_PAGE_MAX

SLIP = "unknown voice BV01_streaming; did you mean BV001_streaming?"
TASKS = [{"text": "one", "voice_type": "BV01_streaming"}, {"text": "two"}, {"text": "three", "voice_type": "S_own"}]


async def asked(bench: Bench, **query: object) -> Told:
    return await bench.ask({**event("GET", "/voices"), "rawQueryString": urlencode(query)})


# --- the list -------------------------------------------------------------------


async def test_anybody_may_ask_for_voices_and_keep_the_answer_for_a_while() -> None:
    bench = Bench()
    told = await asked(bench, language="EN", gender="female", family="seed-tts-1.0", q="Candice")

    assert told.status == 200
    assert told.said == {
        "voices": [
            {
                "id": "en_female_candice_emo_v2_mars_bigtts",
                "name": "Candice",
                "languages": ["en-US"],
                "gender": "female",
                "family": "seed-tts-1.0",
                "resource": "volc.service_type.10029",
                "api": "v1",
                "styles": ["affectionate", "angry", "ASMR", "chat", "excited", "happy", "neutral", "warm"],
                "why_not": None,
            }
        ],
        "count": 1,
        "next_after": None,
    }
    assert told.headers["Cache-Control"] == "public, max-age=3600"
    assert told.headers["Content-Type"] == "application/json"
    assert bench.voice.spoken == []


async def test_head_is_answered_too() -> None:
    assert (await Bench().ask(event("HEAD", "/voices"))).status == 200


@pytest.mark.parametrize("limit", [1, 7, 100, VOICES_PAGE_MAX])
async def test_pages_make_up_the_whole_list(limit: int) -> None:
    bench = Bench()
    ids: list[str] = []
    query: dict[str, object] = {"limit": limit, "language": "zh", "gender": "female", "family": "seed-tts-1.0"}
    while True:
        told = await asked(bench, **query)
        assert len(told.said["voices"]) <= limit
        ids += [voice["id"] for voice in told.said["voices"]]
        if told.said["next_after"] is None:
            break
        query["after"] = told.said["next_after"]

    whole = voices(language="zh", gender="female", family="seed-tts-1.0")
    assert ids == [voice.id for voice in whole]
    assert told.said["count"] == len(whole)


async def test_a_page_has_a_hundred_voices_unless_told_otherwise() -> None:
    told = await asked(Bench())

    assert (len(told.said["voices"]), told.said["count"]) == (100, len(voices()))
    assert told.said["next_after"] == told.said["voices"][-1]["id"]


async def test_names_are_found_in_any_script() -> None:
    told = await asked(Bench(), q="灿灿")

    assert "BV700_streaming" in [voice["id"] for voice in told.said["voices"]]


@pytest.mark.parametrize(
    ("query", "field", "part"),
    [
        ({"language": "xx"}, "language", "one of ar,"),
        ({"gender": "both"}, "gender", "one of female, male, unknown"),
        ({"family": "canary-7f3a"}, "family", "one of seed-tts-1.0, seed-tts-2.0, small-model, speech-to-speech"),
        ({"q": "x" * 101}, "q", "at most 100 characters"),
        ({"limit": "0"}, "limit", "from 1 to 1000"),
        ({"limit": "1001"}, "limit", "from 1 to 1000"),
        ({"limit": "9" * 5_000}, "limit", "from 1 to 1000"),
        ({"limit": "-1"}, "limit", "from 1 to 1000"),
        ({"limit": "²"}, "limit", "from 1 to 1000"),
        ({"canary-7f3a": "en"}, "?", "there are language, gender, family, q, limit, after"),
    ],
)
async def test_a_bad_filter_is_named_with_what_would_do(query: dict[str, object], field: str, part: str) -> None:
    told = await asked(Bench(), **query)

    assert told.status == 422
    [named] = told.error["details"]["fields"]
    assert named["field"] == field
    assert part in named["message"]
    assert "canary" not in told.body
    assert told.headers["Cache-Control"] == "no-store"


# --- voices that nobody knows -------------------------------------------------------


@pytest.mark.parametrize("has_jobs", [True, False])
async def test_a_strange_voice_is_spoken_with_and_warned_of(has_jobs: bool, tmp_path: Path) -> None:
    bench = Workshop(tmp_path).bench() if has_jobs else Bench()
    told = await bench.post({"tasks": TASKS})

    first, second, third = told.said["results"]
    assert told.status == 200
    assert (first["error"], first["warning"]) == (None, SLIP)
    assert first["audio_base64"]
    assert "warning" not in second
    assert "warning" not in third


async def test_a_warning_stands_beside_an_error_too() -> None:
    bench = Bench()
    bench.voice.outcome = lambda _login, _task: VoiceNotGrantedError("no such voice")
    told = await bench.post({"tasks": TASKS[:1]})

    [result] = told.said["results"]
    assert (result["error"]["code"], result["warning"]) == ("voice_not_granted", SLIP)


async def test_an_estimate_and_a_job_are_warned_of_at_once(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    bench = workshop.bench()
    job = event("POST", "/jobs", body=json.dumps({"tasks": TASKS}), admin_key=ADMIN_KEY)
    told = await bench.ask({**job, "rawQueryString": "dry_run=true"})
    taken = await bench.ask(job)

    assert told.said["warnings"] == [SLIP]
    assert (taken.status, taken.said["warnings"]) == (202, [SLIP])


async def test_a_job_of_known_voices_has_no_warnings(tmp_path: Path) -> None:
    body: dict[str, Any] = {"tasks": TASKS[1:]}
    bench = Workshop(tmp_path).bench()
    taken = await bench.ask(event("POST", "/jobs", body=json.dumps(body), admin_key=ADMIN_KEY))

    assert "warnings" not in taken.said
