"""The simulated upstream as a command, and what it shows of itself."""

from __future__ import annotations

import asyncio
import base64
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.upstream.options import options_of
from infra.local.upstream.rules import FAULT_MEANINGS
from infra.local.upstream.voices import Family, family_of, language_of, sound_of
from infra.local.waiting import answers, until
from volcengine_client.clock import SystemClock

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "infra.local.upstream")


async def started(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, cwd=ROOT, stdout=pipe, stderr=pipe)


async def test_it_prints_its_address_speaks_and_stops_when_told_to(start: Any) -> None:
    stage = await start()  # another upstream beside it; only its caller is used
    process = await started("--account", "app:key:with:colons:3", "--mean-ms", "1")
    assert process.stdout
    stage.caller.url = (await process.stdout.readline()).decode().strip()
    stage.caller.token = "key:with:colons"
    try:
        reply = await stage.caller.say()
    finally:
        process.send_signal(signal.SIGTERM)
    rest, complaints = await process.communicate()

    assert stage.caller.url.startswith("http://127.0.0.1:")
    assert base64.b64decode(reply.json["data"])
    assert (process.returncode, rest, complaints) == (0, b"", b"")


async def test_it_writes_its_address_to_a_file_and_says_when_the_port_is_taken(start: Any, tmp_path: Path) -> None:
    stage = await start()
    port = stage.upstream.url.rpartition(":")[2]
    process = await started("--port", port, "--port-file", str(tmp_path / "address"))
    _, complaints = await process.communicate()

    assert process.returncode == 1
    assert f"127.0.0.1:{port}" in complaints.decode()
    assert not (tmp_path / "address").exists()

    await stage.upstream.stop()
    process = await started("--port", port, "--port-file", str(tmp_path / "address"))

    async def is_written() -> bool:
        return (tmp_path / "address").exists()

    await until(is_written, what="the address is written", within_ms=15_000, clock=SystemClock())
    assert await answers((tmp_path / "address").read_text().strip())
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0


def test_options_become_rules() -> None:
    options = options_of(
        [
            *(
                "--port",
                "9000",
                "--account",
                "1:k:2",
                "--account",
                "2:l:3",
                "--limit",
                "4",
                "--refusal-style",
                "200+3003",
            ),
            *(
                "--fault",
                "3005=0.05",
                "--fault",
                "cut=0.1",
                "--no-hold-slot-until-done",
                "--voice-gone",
                "BV009_streaming",
            ),
        ]
    )

    rules = options.rules
    assert (options.port, rules.limit, rules.refusal_style, rules.hold_slot_until_done) == (9000, 4, "200+3003", False)
    assert [(account.app_id, account.limit) for account in rules.accounts] == [("1", 2), ("2", 3)]
    assert (rules.faults, [*rules.voices_gone]) == ({"3005": 0.05, "cut": 0.1}, ["BV009_streaming"])
    assert options_of([]).rules.hold_slot_until_done


@pytest.mark.parametrize(
    "arguments",
    [
        ["--account", "1:2"],
        ["--account", "::3"],
        ["--fault", "3005"],
        ["--fault", "3005=much"],
        ["--fault", "nonsense=0.1"],
        ["--limit", "-1"],
        ["--refusal-style", "418"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        options_of(arguments)

    name = {"--account": "account", "--fault": "fault"}.get(arguments[0], arguments[0])
    assert name in capsys.readouterr().err.rpartition("error:")[2]


def test_help_explains_every_fault_and_route(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        options_of(["--help"])

    told = capsys.readouterr().out
    assert all(f"  {fault}" in told for fault in FAULT_MEANINGS)
    assert all(route in told for route in ("/api/v1/tts", "/_simulator", "/_simulator/calls"))


async def test_the_page_shows_each_account_and_reloads_itself(start: Any) -> None:
    stage = await start(faults={"3005": 0})
    await stage.call("一句话。", app__appid="<b>app")
    running = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    page = await stage.get("/")
    stage.clock.advance(100)
    await running

    assert '<meta http-equiv="refresh"' in page
    assert "&lt;b&gt;app" in page
    assert "volc.tts.default" in page
    assert "一句话" not in page
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere


async def test_no_report_shows_a_key(start: Any) -> None:
    stage = await start(accounts=[{"app_id": "app", "token": "key-of-the-account"}])
    stage.caller.token = "key-of-the-account"
    await stage.call()

    shown = [str(await stage.get(path)) for path in ("/", "/_simulator", "/_simulator/calls")]
    _, refused = await stage.order(accounts=[{"app_id": "app", "token": "key-of-the-account", "limits": 1}])
    assert not any("key-of-the-account" in text for text in [*shown, str(refused)])


async def test_strangers_are_counted_by_reason(start: Any) -> None:
    stage = await start(accounts=[{"app_id": "app", "token": "key"}])
    await stage.caller.post(authorization=None)
    await stage.caller.post(raw=b"{")
    await stage.caller.post(authorization="Bearer;wrong")

    report = await stage.get("/_simulator")
    assert report["strangers"] == {"no_login": 1, "not_json": 1, "wrong_login": 1}
    assert report["accounts"] == {}


@pytest.mark.parametrize(
    ("voice_type", "family", "language"),
    [
        ("BV001_streaming", Family.SMALL, "cmn"),
        ("BR001_streaming", Family.SMALL, "cmn"),
        ("BV503_streaming", Family.SMALL, "en"),
        ("BV524_streaming", Family.SMALL, "ja"),
        ("zh_female_qingxin_moon_bigtts", Family.BIG, "cmn"),
        ("ICL_en_male_x_tob", Family.BIG, "en"),
        ("en_female_anna_mars_bigtts", Family.BIG, "en"),
        ("multi_male_x_moon_bigtts", Family.BIG, "cmn"),
        ("zh_female_vv_uranus_bigtts", Family.SECOND, "cmn"),
        ("ICL_uranus_zh_male_a_tob", Family.SECOND, "cmn"),
        ("zh_female_a_jupiter_bigtts", Family.DIALOGUE, "cmn"),
        ("S_12345", Family.CLONE, "cmn"),
        ("no_such_voice", None, "cmn"),
    ],
)
def test_a_voices_id_tells_its_family_and_language(voice_type: str, family: Family | None, language: str) -> None:
    assert (family_of(voice_type), language_of(voice_type)) == (family, language)


def test_men_speak_lower_than_women() -> None:
    men = ["BV002_streaming", "zh_male_qingcang_mars_bigtts", "ICL_zh_male_a_tob"]
    women = ["BV001_streaming", "zh_female_qingxin_moon_bigtts", "ICL_zh_female_a_tob"]

    assert max(sound_of(man).pitch_hz for man in men) < min(sound_of(woman).pitch_hz for woman in women)
