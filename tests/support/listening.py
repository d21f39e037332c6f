"""Audio as a listener has it: decoded by ffmpeg, which knows nothing of us, and where one sound is in another."""

from __future__ import annotations

import io
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import av

RATE = 8_000  # hertz, for loudness
STEP_MS = 5  # of loudness
KNOWN_BY_MS = 2_000  # of its beginning
SEARCHED_MS = 150  # on both sides


@dataclass(frozen=True, slots=True)
class Listened:
    """A file, decoded from its first to its last frame without a fault.

    Attributes:
        codec: Its name.
        rate: Samples a second.
        channel_count: As the decoder says.
        sample_count: Of one channel.
        loudness: A figure every `STEP_MS`.
    """

    codec: str
    rate: int
    channel_count: int
    sample_count: int
    loudness: Sequence[int] = field(repr=False)

    @property
    def duration_ms(self) -> int:
        """How long it sounds."""
        return round(self.sample_count * 1_000 / self.rate)


def listened(file: bytes, encoding: str, *, rate: int = 24_000) -> Listened:
    """Decode a file; any fault in it is an error. Blocks.

    Args:
        file: The file.
        encoding: mp3, wav, pcm or ogg_opus.
        rate: Of pcm, which does not say.
    """
    options = {"err_detect": "explode+crccheck"}
    container = {"ogg_opus": "ogg", "pcm": "s16le"}.get(encoding, encoding)
    if encoding == "pcm":
        options |= {"sample_rate": str(rate), "ch_layout": "mono"}
    step, left, loudness, count = RATE * STEP_MS // 1_000, array("h"), array("l"), 0
    with av.open(io.BytesIO(file), "r", format=container, options=options) as source:
        stream = source.streams.audio[0]
        resampler = av.AudioResampler("s16", "mono", RATE)
        for packet in source.demux(stream):
            for frame in packet.decode():
                count += frame.samples
                for part in resampler.resample(frame):
                    left.frombytes(bytes(part.planes[0])[: part.samples * 2])
            whole = len(left) // step * step
            loudness.extend(sum(map(abs, left[at : at + step])) for at in range(0, whole, step))
            del left[:whole]
        codec = stream.codec_context
        return Listened(codec.name, codec.sample_rate, codec.layout.nb_channels, count, loudness)


def found_at_ms(part: Listened, whole: Listened, *, near_ms: int) -> int:
    """Return where in *whole* the beginning of *part* is heard, near a place; known by how loud it is when."""
    known = part.loudness[: KNOWN_BY_MS // STEP_MS]
    nearest = near_ms // STEP_MS
    first = max(0, nearest - SEARCHED_MS // STEP_MS)
    last = min(nearest + SEARCHED_MS // STEP_MS, len(whole.loudness) - 1)

    def difference(at: int) -> float:
        heard = whole.loudness[at : at + len(known)]
        return sum(abs(a - b) for a, b in zip(known, heard, strict=False)) / max(1, len(heard))

    return min(range(first, last + 1), key=difference) * STEP_MS


def places_ms(parts: Sequence[Listened], whole: Listened) -> list[int]:
    """Return where in *whole* each of its parts begins, one after the other; a join may add or drop a frame."""
    places: list[int] = []
    near_ms = 0
    for part in parts:
        places.append(found_at_ms(part, whole, near_ms=near_ms))
        near_ms = places[-1] + part.duration_ms
    return places
