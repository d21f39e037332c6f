"""A long text by OpenAI's route: spoken on by a job, told when to ask again, found then, each segment bought once."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.support.gateway import ADMIN_KEY, Bench, Told, event
from tests.support.jobs import Workshop
from tests.support.long_texts import sentences


async def _post(bench: Bench, text: str, *, remaining_ms: int = 29_000) -> Told:
    body = {"model": "tts-1", "input": text, "voice": "alloy", "response_format": "pcm"}
    shown = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return await bench.ask(event("POST", "/v1/audio/speech", body=json.dumps(body), **shown), remaining_ms=remaining_ms)


async def test_a_long_text_goes_on_as_a_job_and_is_found_when_it_is_asked_for_again(tmp_path: Path) -> None:
    """I5 and I8."""
    workshop = Workshop(tmp_path, limit=4, speak_ms=300)
    text = "".join(sentences(40))
    first = await _post(workshop.bench(), text, remaining_ms=3_000)
    for message, _ in list(workshop.messages.sent):
        await workshop.slice(message)
    second = await _post(workshop.bench(), text)

    assert (first.status, first.headers["Retry-After"], first.headers["X-Should-Retry"]) == (429, "5", "true")
    assert second.status == 200
    assert base64.b64decode(second.body).decode() == text
    assert workshop.bought() == dict.fromkeys(sentences(40), 1)


async def test_the_longest_text_is_taken_and_one_longer_is_refused_with_the_bound(tmp_path: Path) -> None:
    bench = Workshop(tmp_path).bench()
    taken, refused = await _post(bench, "a" * 100_000, remaining_ms=2_000), await _post(bench, "a" * 100_001)

    assert taken.status in {200, 429}
    assert (refused.status, refused.error["param"]) == (400, "input")
    assert "100000 characters" in refused.error["message"]
