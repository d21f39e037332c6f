"""Pure: wav files of 16-bit samples, one channel."""

from __future__ import annotations

from typing import NamedTuple

WAV_HEADER_BYTES = 44
WAV_BYTES_MAX = 0x7FFF_F000  # sizes from here on, and 0, are what writers put who don't know the size yet
_PCM, _EXTENSIBLE = 1, 0xFFFE
_FORMAT_BYTES, _EXTENSIBLE_BYTES = 16, 26
_SAMPLE_BYTES = 2


class WavData(NamedTuple):
    """The chunk of a wav that holds the sound, and the one that says how to read it."""

    form: bytes
    begins_at: int
    ends_at: int


def wav_data_of(audio: bytes) -> WavData:
    """Find the sound of a wav.

    Raises:
        ValueError: It is no whole wav; the reason says why.
    """
    if audio[:4] != b"RIFF" or audio[8:12] != b"WAVE":
        raise ValueError("there is no wav header")
    at, form = 12, b""
    while at + 8 <= len(audio):
        name, stated = audio[at : at + 4], int.from_bytes(audio[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            return WavData(form, at, at + _data_bytes(stated, len(audio) - at))
        if name == b"fmt ":
            form = audio[at : at + stated]
        at += stated + stated % 2
    raise ValueError("there is no wav data")


def _data_bytes(stated: int, present: int) -> int:
    if stated == 0 or stated >= WAV_BYTES_MAX:
        stated = present
    if stated == 0:
        raise ValueError("the wav data is empty")
    if stated > present:
        raise ValueError("there is less wav data than its header says")
    return stated


def wav_samples(audio: bytes) -> tuple[int, memoryview]:
    """Return the sample rate of a wav, and its samples.

    Raises:
        ValueError: It is no whole wav of 16-bit samples in one channel.
    """
    form, begins_at, ends_at = wav_data_of(audio)
    code, channel_count = int.from_bytes(form[:2], "little"), int.from_bytes(form[2:4], "little")
    rate, bits = int.from_bytes(form[4:8], "little"), int.from_bytes(form[14:16], "little")
    if code == _EXTENSIBLE and len(form) >= _EXTENSIBLE_BYTES:
        code = int.from_bytes(form[24:26], "little")
    if len(form) < _FORMAT_BYTES or (code, channel_count, bits) != (_PCM, 1, 8 * _SAMPLE_BYTES) or rate == 0:
        raise ValueError("the wav is not of 16-bit samples in one channel")
    if (ends_at - begins_at) % _SAMPLE_BYTES:
        raise ValueError("the last wav sample is cut")
    return rate, memoryview(audio)[begins_at:ends_at]


def wav_header(data_bytes: int, rate: int) -> bytes:
    """Write what comes before the samples."""
    form = b"".join(
        (
            _PCM.to_bytes(2, "little"),
            (1).to_bytes(2, "little"),
            rate.to_bytes(4, "little"),
            (rate * _SAMPLE_BYTES).to_bytes(4, "little"),
            _SAMPLE_BYTES.to_bytes(2, "little"),
            (8 * _SAMPLE_BYTES).to_bytes(2, "little"),
        )
    )
    riff_bytes = (WAV_HEADER_BYTES - 8 + data_bytes).to_bytes(4, "little")
    form_bytes = len(form).to_bytes(4, "little")
    return b"RIFF" + riff_bytes + b"WAVEfmt " + form_bytes + form + b"data" + data_bytes.to_bytes(4, "little")
