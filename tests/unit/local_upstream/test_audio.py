"""The simulated upstream's audio: real files, known by their bytes."""

from __future__ import annotations

import base64
import subprocess
import sys
from array import array
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import miniaudio
import pytest

from infra.local.upstream import Wishes, audio, audio_of, wishes_of
from infra.local.upstream.audio import stretched

ROOT = Path(__file__).parents[3]
LINE = "今天天气很好，我们一起去公园散步吧。"
VOICES = ["BV001_streaming", "BV002_streaming", "BV503_streaming", "zh_female_qingxin_moon_bigtts", "S_clone1"]


def loudest(samples: array[int]) -> int:
    return max(map(abs, samples))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("encoding", ["mp3", "wav", "pcm"])
async def test_audio_can_be_decoded_and_lasts_as_long_as_it_says(start: Any, encoding: str, rate: int) -> None:
    stage = await start()
    reply = await stage.call(LINE, audio__encoding=encoding, audio__rate=rate)

    file, told_ms = base64.b64decode(reply.json["data"]), int(reply.json["addition"]["duration"])
    if encoding == "pcm":
        assert len(file) / 2 * 1_000 / rate == pytest.approx(told_ms, abs=1)
        return
    info = (miniaudio.mp3_get_info if encoding == "mp3" else miniaudio.wav_get_info)(file)
    assert (info.sample_rate, info.nchannels) == (rate, 1)
    sound = miniaudio.decode(file, nchannels=1, sample_rate=rate)
    assert sound.duration * 1_000 == pytest.approx(told_ms, abs=3 * 1_152 * 1_000 / rate)  # mp3 has whole frames
    assert loudest(sound.samples) > 3_000


async def test_a_success_has_the_documented_shape(start: Any) -> None:
    stage = await start()
    body = stage.caller.body(LINE)
    reply = await stage.call(LINE, request__reqid=body["request"]["reqid"])

    assert {name: value for name, value in reply.json.items() if name != "data"} == {
        "reqid": body["request"]["reqid"],
        "code": 3000,
        "operation": "query",
        "message": "Success",
        "sequence": -1,
        "addition": {"duration": str(audio_of(wishes_of(body)).duration_ms)},
    }


async def test_the_bytes_of_an_answer_tell_whose_they_are(start: Any) -> None:
    stage = await start()
    bodies = [
        stage.caller.body(text, audio__voice_type=voice, audio__encoding=encoding, audio__speed_ratio=speed)
        for text in (LINE, "Task 17", "Task 18")
        for voice in ("BV001_streaming", "BV002_streaming")
        for encoding in ("mp3", "wav")
        for speed in (1, 1.5)
    ]
    files = []
    for body in bodies:
        changes = {f"audio__{name}": value for name, value in body["audio"].items()}
        files.append(base64.b64decode((await stage.call(body["request"]["text"], **changes)).json["data"]))

    assert files == [audio_of(wishes_of(body)).file for body in bodies]
    assert len(set(files)) == len(files)


def test_the_same_wishes_give_the_same_bytes_in_any_process_after_any_other_speech() -> None:
    speak = (
        "import sys; from hashlib import sha256; from infra.local.upstream import Wishes, audio_of\n"
        "for text in sys.argv[2:]: audio_of(Wishes(text, 'BV520_streaming', speed=3, volume=3))\n"
        "print(sha256(audio_of(Wishes(sys.argv[1], 'BV001_streaming', 'mp3')).file).hexdigest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", speak, LINE, *before], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
        for before in ([], ["LOUD! WHAT?!", "こんにちは"])
    ]

    assert told == [sha256(audio_of(Wishes(LINE, "BV001_streaming", "mp3")).file).hexdigest()] * 2


def test_every_voice_sounds_otherwise() -> None:
    assert len({audio_of(Wishes(LINE, voice)).file for voice in VOICES}) == len(VOICES)


@pytest.mark.parametrize("speed", [0.2, 0.4, 0.5, 1.7, 2, 2.5, 3])
def test_speed_divides_the_time(speed: float) -> None:
    usual, changed = (audio_of(Wishes(LINE, "BV001_streaming", speed=ratio)).duration_ms for ratio in (1, speed))

    assert changed == pytest.approx(usual / speed, rel=0.12)


def test_volume_multiplies_the_loudness() -> None:
    quiet, usual, loud = (
        loudest(array("h", audio_of(Wishes(LINE, "BV001_streaming", volume=ratio)).file)) for ratio in (0.5, 1, 3)
    )

    assert quiet == pytest.approx(usual / 2, rel=0.02)
    assert loud >= audio.FULL


def test_pitch_is_heard_and_takes_no_more_time() -> None:
    low, usual, high = (audio_of(Wishes(LINE, "BV001_streaming", pitch=ratio)) for ratio in (0.5, 1, 2))

    assert len({low.file, usual.file, high.file}) == 3
    for other in (low, high):
        assert other.duration_ms == pytest.approx(usual.duration_ms, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 3])
def test_stretched_speech_keeps_its_pitch(factor: float) -> None:
    period = 100
    tone = array("h", [1_000 if i % period < period // 2 else -1_000 for i in range(22_050)])
    longer = stretched(tone, factor)

    assert len(longer) == pytest.approx(len(tone) * factor, abs=256)
    crossings = sum(a < 0 <= b for a, b in pairwise(longer))
    assert crossings == pytest.approx(len(longer) / period, rel=0.35)


def test_where_no_speech_can_be_loaded_a_tone_of_fitting_length_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "espeak", lambda: None)
    of_others = Wishes("四个字吧", "BV777_streaming", "wav")
    tones = [
        audio_of(replace(of_others, text=text, speed=speed)) for text, speed in ((LINE, 1), (LINE * 2, 1), (LINE, 2))
    ]
    audio_of.cache_clear()

    assert [tone.duration_ms for tone in tones] == [4_000, 8_000, 2_000]
    assert len({tone.file for tone in tones}) == 3
    assert loudest(miniaudio.decode(tones[0].file).samples) > 3_000


def test_a_text_in_which_the_speech_library_finds_nothing_gets_a_tone() -> None:
    spoken = audio_of(Wishes("\u200b", "BV001_streaming"))

    assert loudest(array("h", spoken.file)) > 3_000
