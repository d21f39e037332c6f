"""Nothing that the stack writes down holds a key or a spoken text (I6); runs after the suite's other files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.support.local_stack import Aws, Gateway

SPOKEN = "A sentence that nobody else should read."
OWN_KEY = "own-access-key-of-a-caller"


async def speak_in_every_way(gateway: Gateway, simulator: Simulator) -> list[str]:
    """Succeed and fail in as many ways as there are, and return what was answered to those that failed."""
    own = {"volcengine_tts_appid": "own-app", "volcengine_tts_access_key": OWN_KEY}
    await gateway.speak([{"text": SPOKEN}])
    await gateway.speak([{"text": SPOKEN}], credentials=own)
    await simulator.order(next_faults=["noauth"])
    answers = [
        await gateway.speak([{"text": SPOKEN}], credentials=own),
        await gateway.speak([{"text": SPOKEN, "speed": 99}], credentials=own),
        await gateway.speak([{"text": SPOKEN, "voice_type": "no_such_voice"}]),
        await gateway.speak([{"text": SPOKEN}], credentials={"volcengine_tts_access_key": OWN_KEY}),
        await gateway.speak([{"text": SPOKEN}], headers={"Admin-API-Key": OWN_KEY}),
        await gateway.ask("POST", "/generate-batch", headers=gateway.admin, data=f'{{"tasks": [{{"text": "{SPOKEN}'),
        await gateway.get(f"/{OWN_KEY}"),
    ]
    broken = {f"{SPOKEN} {fault}": fault for fault in ("3005", "html502", "empty", "truncated", "liar", "3011")}
    await simulator.order(text_faults={text: [fault] * 5 for text, fault in broken.items()})
    answers.extend(await asyncio.gather(*(gateway.speak([{"text": text}]) for text in broken)))
    return [answer.text for answer in answers if '"error":null' not in answer.text]


def written_by(stack: Stack) -> dict[str, str]:
    """Return all that a stack wrote down since it was brought up."""
    aws = Aws(stack)
    files = [path for path in Path(stack.directory).rglob("*.log") if path.is_file()]
    assert files
    return {
        "logs of functions and of the API": "\n".join(aws.logs()),
        "logs of the processes": "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files),
        "items": json.dumps(aws.pools(), ensure_ascii=False),
    }


async def test_no_log_item_or_error_holds_a_key_or_a_text(
    stack: Stack, quick_stack: Stack, gateway: Gateway, simulator: Simulator, aws: Aws
) -> None:
    refusals = await speak_in_every_way(gateway, simulator)
    written, quick = written_by(stack), written_by(quick_stack)

    assert len(refusals) > 5
    assert "request_id" in written["logs of functions and of the API"], "the functions log something at all"
    keys = {stack.admin_api_key, quick_stack.admin_api_key, aws.secret()["volcengine_tts_access_key"], OWN_KEY}
    for where, text in [*written.items(), *quick.items(), ("refusals", "\n".join(refusals))]:
        for hidden in {SPOKEN, "own-app", "Caller 1, 1.", *keys}:
            assert hidden not in text, f"{where} hold something that they should not"
