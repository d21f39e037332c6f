"""Sounds, encoded and decoded by ffmpeg, which knows nothing of this project."""

from __future__ import annotations

import io
import math
from array import array
from fractions import Fraction
from functools import cache

import av

LOUD = 8_000
FADE_MS = 20


@cache
def sound(hertz: int, duration_ms: int, rate: int, *, is_faded: bool = True) -> bytes:
    """Return 16-bit samples of a tone, as speech is: it rises from silence and falls back, unless it is cut hard."""
    count = rate * duration_ms // 1_000
    fade = rate * FADE_MS // 1_000 if is_faded else 1
    louder = (min(1.0, at / fade, (count - at) / fade) for at in range(count))
    return array(
        "h", (round(LOUD * share * math.sin(2 * math.pi * hertz * at / rate)) for at, share in enumerate(louder))
    ).tobytes()


@cache
def encoded(
    samples: bytes, *, encoding: str, rate: int, bit_rate: int = 32_000, options: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """Return an mp3 with ffmpeg's informing frame, or an ogg with opus."""
    container, codec = {"mp3": ("mp3", "libmp3lame"), "ogg_opus": ("ogg", "libopus")}[encoding]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options))
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate, stream.layout = bit_rate, "mono"
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        frame.planes[0].update(samples + bytes(frame.planes[0].buffer_size - len(samples)))
        resampler = av.AudioResampler("s16" if encoding == "ogg_opus" else "s16p", "mono", rate, _frame_size(stream))
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def _frame_size(stream: av.AudioStream) -> int:
    stream.codec_context.open(strict=False)
    return stream.codec_context.frame_size


def decoded(file: bytes, encoding: str) -> tuple[int, array[int]]:
    """Return the rate and the samples of the first channel; any fault in the file is an error."""
    samples = array("h")
    container = {"ogg_opus": "ogg"}.get(encoding, encoding)
    with av.open(io.BytesIO(file), "r", format=container, options={"err_detect": "explode+crccheck"}) as source:
        stream = source.streams.audio[0]
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler("s16", "mono", rate)
        for packet in source.demux(stream):
            for frame in packet.decode():
                for part in resampler.resample(frame):
                    samples.frombytes(bytes(part.planes[0])[: part.samples * 2])
    return rate, samples


def stated_ms(file: bytes, encoding: str) -> int:
    """Return how long a player says the file is before it plays it."""
    with av.open(io.BytesIO(file), "r", format={"ogg_opus": "ogg"}.get(encoding, encoding)) as source:
        stream = source.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        return round(stream.duration * stream.time_base * 1_000)
