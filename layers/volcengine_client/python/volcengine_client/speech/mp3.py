"""Pure: the frames of an mp3: MPEG 1, 2 and 2.5, layer III."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

FRAME_HEADER_BYTES = 4
DECODER_DELAY = 529  # samples by which any decoder's output lags behind what was encoded
KILOBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KILOBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_1, _MPEG_2, _MPEG_2_5 = 3, 2, 0
_LAYER_3 = 1
_MONO = 3
_SAMPLE_RATES = {
    _MPEG_1: (44_100, 48_000, 32_000),
    _MPEG_2: (22_050, 24_000, 16_000),
    _MPEG_2_5: (11_025, 12_000, 8_000),
}
_ID3V1_BYTES = 128
_ID3V2_HEADER_BYTES = 10


class Frame(NamedTuple):
    """What a frame's header says."""

    size: int  # bytes, header included
    sample_count: int
    sample_rate: int


class Info(NamedTuple):
    """What the first frame says of the rest when it holds no sound: Xing's or LAME's.

    The delays are samples of silence that the encoder put before and after the sound; None when it does not say.
    """

    frame_count: int | None
    delay: int | None
    padding: int

    def heard_sample_count(self, frame_count: int, first: Frame) -> int:
        """Count what is heard of the frames after an informing one."""
        if frame_count < max(1, self.frame_count or 0):
            raise ValueError("there are fewer mp3 frames than the first one says")
        return max(0, frame_count * first.sample_count - (self.delay or 0) - self.padding)


def frames_of(audio: bytes) -> Iterator[tuple[int, Frame]]:
    """Find every frame and where it begins, past tags.

    Raises:
        ValueError: Something else lies between frames, the last one is cut, or the sample rate changes.
    """
    at, end = 0, len(audio)
    sample_rate: int | None = None
    while at < end:
        if audio[at] != 0xFF:
            at = _after_tag(audio, at)
            continue
        if at + FRAME_HEADER_BYTES > end:
            raise ValueError("the last mp3 frame is cut")
        frame = frame_of(audio[at + 1], audio[at + 2])
        if at + frame.size > end:
            raise ValueError("the last mp3 frame is cut")
        if sample_rate not in {None, frame.sample_rate}:
            raise ValueError("the sample rate changes between mp3 frames")
        sample_rate = frame.sample_rate
        yield at, frame
        at += frame.size


@cache
def frame_of(version_byte: int, rate_byte: int) -> Frame:
    """Read the two bytes of a frame's header on which its length depends."""
    version, layer = version_byte >> 3 & 3, version_byte >> 1 & 3
    bitrate, rate, is_padded = rate_byte >> 4, rate_byte >> 2 & 3, rate_byte >> 1 & 1
    if version_byte < 0xE0 or version not in _SAMPLE_RATES or layer != _LAYER_3 or rate == 3:
        raise ValueError("there is something else than mp3 frames")
    if bitrate in {0, 15}:
        raise ValueError("an mp3 frame has no bitrate")
    sample_rate = _SAMPLE_RATES[version][rate]
    kilobits, sample_count = (KILOBITS_1, 1_152) if version == _MPEG_1 else (KILOBITS_2, 576)
    size = sample_count // 8 * kilobits[bitrate] * 1_000 // sample_rate + is_padded
    return Frame(size, sample_count, sample_rate)


def _after_tag(audio: bytes, at: int) -> int:
    """Skip a tag, or zeros that fill up the end; anything else between frames is garbage."""
    if audio.startswith(b"ID3", at) and at + _ID3V2_HEADER_BYTES <= len(audio):
        size = 0
        for seven_bits in audio[at + 6 : at + 10]:
            size = size << 7 | seven_bits & 0x7F
        has_footer = audio[at + 5] & 0x10
        at += size + (2 if has_footer else 1) * _ID3V2_HEADER_BYTES
        if at <= len(audio):
            return at
    elif (audio.startswith(b"TAG", at) and len(audio) - at == _ID3V1_BYTES) or not any(audio[at:]):
        return len(audio)
    raise ValueError("there is something else than mp3 frames")


def is_mono(header: bytes) -> bool:
    """Tell whether a frame has one channel."""
    return header[3] >> 6 == _MONO


def is_mpeg_1(header: bytes) -> bool:
    """Tell whether a frame is of MPEG 1, of two granules, not of MPEG 2 or 2.5, of one."""
    return header[1] >> 3 & 3 == _MPEG_1


def side_bytes(header: bytes) -> int:
    """Return how many bytes of a frame, after its header, say how to read its sound."""
    if is_mpeg_1(header):
        return 17 if is_mono(header) else 32
    return 9 if is_mono(header) else 17


def info_of(frame: bytes) -> Info | None:
    """Read the informing frame that Xing's and LAME's encoders put first; None when it is a frame of sound."""
    at = FRAME_HEADER_BYTES + side_bytes(frame)
    if frame[at : at + 4] not in {b"Xing", b"Info"}:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8
    frame_count = int.from_bytes(frame[at : at + 4], "big") if flags & 1 else None
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if frame[at : at + 4] not in {b"LAME", b"Lavf", b"Lavc"}:
        return Info(frame_count, None, 0)
    delays = int.from_bytes(frame[at + 21 : at + 24], "big")
    return Info(frame_count, delays >> 12, delays & 0xFFF)
