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


async def test_no_log_item_or_error_holds_a_key_or_a_text(
    stack: Stack, gateway: Gateway, simulator: Simulator, aws: Aws
) -> None:
    refusals = await speak_in_every_way(gateway, simulator)
    secret = aws.secret()
    logs = aws.logs()
    files = [path for path in Path(stack.functions_directory).parents[0].rglob("*.log") if path.is_file()]
    written = {
        "logs of functions and of the API": "\n".join(logs),
        "logs of the processes": "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files),
        "items": json.dumps(aws.pools(), ensure_ascii=False),
        "refusals": "\n".join(refusals),
    }

    assert len(refusals) > 5
    assert any("request_id" in line for line in logs), "the functions log something at all"
    assert files
    hidden = {SPOKEN, OWN_KEY, "own-app", stack.admin_api_key, secret["volcengine_tts_access_key"], "Caller 1, 1."}
    for where, text in written.items():
        for secret_text in hidden:
            assert secret_text not in text, f"{where} hold something that they should not"
