"""Audio: from a request's wishes to the bytes of a file, always the same bytes for the same wishes."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import re
import unicodedata
import wave
from array import array
from dataclasses import dataclass
from typing import Final

import av
import lameenc
import miniaudio

from infra.local.upstream.espeak import (
    SAMPLE_RATE,
    WORDS_A_MINUTE,
    WORDS_A_MINUTE_MAX,
    WORDS_A_MINUTE_MIN,
    EspeakError,
    espeak,
)
from infra.local.upstream.voices import Sound, sound_of

ENCODINGS: Final = ("mp3", "wav", "pcm", "ogg_opus")
CACHED_AUDIOS = 512  # files kept, so that a text said again costs nothing
FULL = 32_767  # the loudest sample

_QUICK = 7  # of lame's qualities, 2 (best) to 7 (quickest)
_FRAME = 256  # samples by which speech is stretched
_TAG = re.compile(r"<[^>]*>")  # of SSML
_OPUS_RATES = (8_000, 16_000, 24_000, 48_000)  # hertz; other rates are encoded at the highest
_OPUS_BITS = 32_000  # a second
_IDEOGRAPHS_A_SECOND, _LETTERS_A_SECOND = 4.5, 14.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a text is to be spoken.

    Attributes:
        encoding: `mp3`, `wav`, `pcm` or `ogg_opus`.
        rate: Samples a second.
        speed: Ratio; 2 takes half as long.
        volume: Ratio.
        pitch: Ratio; 2 is an octave higher.
        bitrate: Kilobits a second, mp3 only.
        silence_ms: Silence after it.
        is_ssml: Whether there are tags in the text, which are not spoken.
    """

    text: str
    voice_type: str
    encoding: str = "pcm"
    rate: int = 24_000
    speed: float = 1.0
    volume: float = 1.0
    pitch: float = 1.0
    bitrate: int = 64
    silence_ms: int = 0
    is_ssml: bool = False

    @property
    def words(self) -> str:
        """What is heard of the text."""
        return _TAG.sub(" ", self.text) if self.is_ssml else self.text


@dataclass(frozen=True, slots=True)
class Audio:
    """A file, and how long it sounds."""

    file: bytes
    duration_ms: int


@functools.lru_cache(maxsize=CACHED_AUDIOS)
def audio_of(wishes: Wishes) -> Audio:
    """Speak a text; a tone stands for what can't be spoken on this machine.

    Depends on nothing but *wishes*, so that a test can tell by the bytes whose audio it holds. Blocks for some
    milliseconds; safe from any thread.
    """
    samples = louder(_speech(wishes) or _tone(wishes), wishes.volume)
    samples.extend([0] * round(SAMPLE_RATE * wishes.silence_ms / 1_000))
    at_rate = array("h")
    at_rate.frombytes(_resampled(samples.tobytes(), wishes.rate))
    return Audio(_encoded(at_rate.tobytes(), wishes), round(len(at_rate) * 1_000 / wishes.rate))


def _speech(wishes: Wishes) -> array[int] | None:
    """Return what the speech library says; None when it is missing or finds nothing to say."""
    engine = espeak()
    if engine is None:
        return None
    wanted = WORDS_A_MINUTE * wishes.speed
    words_a_minute = min(max(round(wanted), WORDS_A_MINUTE_MIN), WORDS_A_MINUTE_MAX)
    voice = sound_of(wishes.voice_type)
    sound = Sound(voice.language, max(20, round(voice.pitch_hz * wishes.pitch)), voice.formant_percent)
    samples = array("h")
    try:
        samples.frombytes(engine.speak(wishes.words, sound, words_a_minute=words_a_minute))
    except EspeakError:
        return None
    if not any(samples):
        return None
    return samples if round(wanted) == words_a_minute else stretched(samples, words_a_minute / wanted)


def stretched(samples: array[int], factor: float) -> array[int]:
    """Make speech last *factor* times as long at the same pitch, by frames that fade into each other."""
    out = array("h")
    fading = samples[:_FRAME]
    for number in range(round(len(samples) * factor) // _FRAME):
        start = min(round(number * _FRAME / factor), max(0, len(samples) - 2 * _FRAME))
        rising = samples[start : start + _FRAME]
        out.extend((a * (_FRAME - i) + b * i) // _FRAME for i, (a, b) in enumerate(zip(fading, rising, strict=False)))
        fading = samples[start + _FRAME : start + 2 * _FRAME]
    return out


def louder(samples: array[int], ratio: float) -> array[int]:
    """Turn the volume up or down; what is too loud is cut."""
    if ratio == 1:
        return samples
    return array("h", (min(max(round(sample * ratio), -FULL), FULL) for sample in samples))


def _tone(wishes: Wishes) -> array[int]:
    """Return a note that text and voice decide, as long as the text would take to say."""
    words = wishes.words
    ideographs = sum(unicodedata.east_asian_width(character) in "WF" for character in words)
    seconds = ideographs / _IDEOGRAPHS_A_SECOND + (len(words) - ideographs) / _LETTERS_A_SECOND
    count = round(max(0.3, seconds) / wishes.speed * SAMPLE_RATE)
    choice = int.from_bytes(hashlib.sha256(f"{wishes.voice_type}\n{wishes.text}".encode(errors="replace")).digest()[:4])
    hertz = (200 + choice % 400) * wishes.pitch
    period = max(2, round(SAMPLE_RATE / hertz))
    wave_form = array("h", (round(FULL / 5 * math.sin(2 * math.pi * i / period)) for i in range(period)))
    return (wave_form * (count // period + 1))[:count]


def _resampled(samples: bytes, rate: int) -> bytes:
    signed = miniaudio.SampleFormat.SIGNED16
    return bytes(miniaudio.convert_frames(signed, 1, SAMPLE_RATE, samples, signed, 1, rate))


def _encoded(samples: bytes, wishes: Wishes) -> bytes:
    if wishes.encoding == "pcm":
        return samples
    if wishes.encoding == "wav":
        return _wav(samples, wishes.rate)
    if wishes.encoding == "ogg_opus":
        return _opus(samples, wishes.rate)
    assert wishes.encoding == "mp3"
    encoder = lameenc.Encoder()
    encoder.set_bit_rate(wishes.bitrate)
    encoder.set_in_sample_rate(wishes.rate)
    encoder.set_out_sample_rate(wishes.rate)
    encoder.set_channels(1)
    encoder.set_quality(_QUICK)
    encoder.silence()
    return bytes(encoder.encode(samples) + encoder.flush())


def _opus(samples: bytes, rate: int) -> bytes:
    """Encode as opus in ogg; bit for bit the same for the same samples, which ogg by itself is not."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("libopus", rate=rate if rate in _OPUS_RATES else max(_OPUS_RATES), layout="mono")
        stream.bit_rate = _OPUS_BITS
        resampler = av.AudioResampler(format="s16", layout="mono", rate=stream.rate)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.sample_rate = rate
        frame.planes[0].update(samples)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(piece))
    return file.getvalue()


def _wav(samples: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples)
    return file.getvalue()
