"""Our v3 against the simulated one: every framing, every fault, every encoding at every rate, v1's too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from infra.local.upstream import Account, Rules, Upstream, Wishes, audio_of
from tests.support.listening import listened
from tests.support.scripted_upstream import RecordedCall
from volcengine_client import errors
from volcengine_client.clock import SystemClock
from volcengine_client.models import TaskItem
from volcengine_client.speech.account import AccountSpeaker
from volcengine_client.speech.login import Login
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.wire import Wire

VOICE = "zh_female_vv_uranus_bigtts"
BIG_VOICE = "zh_female_shuangkuaisisi_moon_bigtts"
TEXT = "你好，世界。今天天气很好。"
LOGIN = Login("app", "key", "api-key")
ACCOUNT = Account.model_validate({"app_id": "app", "token": "key", "api_key": "api-key"})
ENDED = ["ready", "sent", "answered"]
V3_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
RATES = {VOICE: V3_RATES, BIG_VOICE: V3_RATES, "BV001_streaming": (8_000, 16_000, 24_000)}
CODECS = {"mp3": "mp3float", "wav": "pcm_s16le", "pcm": "pcm_s16le", "ogg_opus": "opus"}


class Bench:
    """An account at a simulated upstream."""

    def __init__(self, upstream: Upstream, wire: Wire) -> None:
        self.upstream = upstream
        self.speaker = AccountSpeaker(wire, LOGIN)
        self.call = RecordedCall()

    async def spoken(self, task: TaskItem) -> Speech:
        self.call = RecordedCall()
        return await self.speaker.speak(task, call=self.call, timeout_ms=10_000)

    def order(self, fault: str | None = None, **changes: Any) -> None:
        self.upstream.gate.rules = self.upstream.gate.rules.changed(changes)
        self.upstream.gate.script.of_next.extend([fault] if fault else [])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    upstream = Upstream(Rules(accounts=(ACCOUNT,), mean_ms=0, sigma=0))
    await upstream.start()
    wire = Wire(upstream.url, clock=SystemClock())
    yield Bench(upstream, wire)
    await wire.close()
    await upstream.stop()


@pytest.mark.parametrize("piece_bytes", [None, 1, 1_000])
@pytest.mark.parametrize("has_lines", [True, False])
async def test_every_framing_gives_the_same_audio(bench: Bench, piece_bytes: int | None, *, has_lines: bool) -> None:
    bench.order(piece_bytes=piece_bytes, has_lines=has_lines)
    speech = await bench.spoken(TaskItem(None, TEXT, VOICE, subtitles="json"))

    assert speech.audio == audio_of(Wishes(TEXT, VOICE, "mp3")).file
    assert speech.billed_characters == len(TEXT)
    assert "".join(word.text for word in speech.words or ()) == "你好世界今天天气很好"
    assert bench.call.told == ENDED


@pytest.mark.parametrize("encoding", ["mp3", "wav", "pcm", "ogg_opus"])
@pytest.mark.parametrize(("voice", "rate"), [(voice, rate) for voice, rates in RATES.items() for rate in rates])
async def test_each_encoding_and_rate_decodes_to_what_it_claims(
    bench: Bench, voice: str, encoding: Any, rate: Any
) -> None:
    """Decoded by another library than ours; opus has a rate of its own, and pcm lasts as long as its rate says."""
    speech = await bench.spoken(TaskItem(None, TEXT, voice, encoding=encoding, sample_rate=rate))
    sound = listened(speech.audio, encoding, rate=rate)
    said_ms = audio_of(Wishes(TEXT, voice, "pcm", 24_000)).duration_ms

    assert (sound.codec, sound.channel_count) == (CODECS[encoding], 1)
    assert sound.rate == (48_000 if encoding == "ogg_opus" else rate)
    assert sound.duration_ms == pytest.approx(speech.duration_ms, abs=10)
    assert sound.duration_ms == pytest.approx(said_ms, abs=3 * 1_152 * 1_000 / rate if encoding == "mp3" else 30)
    assert max(sound.loudness) > 100_000, "it is silent"


async def test_every_wish_is_heard(bench: Bench) -> None:
    task = TaskItem(None, TEXT, BIG_VOICE, encoding="pcm", speed=1.5, volume=0.5, pitch=-12, silence_ms=300)
    speech = await bench.spoken(task)
    wishes = Wishes(TEXT, BIG_VOICE, "pcm", speed=1.5, volume=0.5, pitch=0.5, silence_ms=300)

    assert speech.audio == audio_of(wishes).file


async def test_v1_tells_words_and_silence_too(bench: Bench) -> None:
    task = TaskItem(None, TEXT, encoding="pcm", silence_ms=300, subtitles="srt")
    speech = await bench.spoken(task)

    assert speech.audio == audio_of(Wishes(TEXT, "BV001_streaming", "pcm", silence_ms=300)).file
    assert "".join(word.text for word in speech.words or ()) == "你好世界今天天气很好"


@pytest.mark.parametrize("has_header_errors", [True, False])
@pytest.mark.parametrize(
    ("fault", "kind", "is_ended"),
    [
        ("3001", errors.OptionRefusedError, True),
        ("3003", errors.ConcurrencyExceededError, True),
        *((code, errors.UpstreamUnavailableError, True) for code in ("3005", "3006", "3030", "3031", "3032", "3040")),
        ("3010", errors.TextRefusedError, True),
        ("3011", errors.TextRefusedError, True),
        ("3050", errors.VoiceNotGrantedError, True),
        ("html502", errors.UpstreamUnavailableError, True),
        ("noauth", errors.LoginRejectedError, True),
        ("cut", errors.UpstreamUnavailableError, False),
        ("cut_early", errors.UpstreamUnavailableError, False),
        ("cut_amid", errors.UpstreamUnavailableError, False),
        ("error_amid", errors.UpstreamUnavailableError, True),
        ("no_end", errors.UpstreamUnavailableError, False),
        ("liar", errors.UpstreamUnavailableError, False),
        ("empty", errors.TextRefusedError, True),
        ("broken", errors.UpstreamUnavailableError, True),
        ("truncated", errors.UpstreamUnavailableError, True),
    ],
)
async def test_every_fault_is_an_honest_error_and_the_call_ends_or_is_in_doubt(
    bench: Bench, fault: str, kind: type[errors.VolcengineError], *, is_ended: bool, has_header_errors: bool
) -> None:
    bench.order(fault, has_header_errors=has_header_errors)
    with pytest.raises(errors.VolcengineError) as failed:
        await bench.spoken(TaskItem(None, TEXT, VOICE, encoding="pcm"))

    assert type(failed.value) is kind
    assert bench.call.told == (ENDED if is_ended else ["ready", "sent"])
    assert (await bench.spoken(TaskItem(None, TEXT, VOICE, encoding="pcm"))).audio


async def test_a_voice_in_the_wrong_product_is_an_error_that_lasts(bench: Bench) -> None:
    with pytest.raises(errors.VoiceNotGrantedError, match="does not belong to this product") as failed:
        await bench.spoken(TaskItem(None, TEXT, VOICE, resource_id="seed-icl-2.0"))

    assert not failed.value.retryable
