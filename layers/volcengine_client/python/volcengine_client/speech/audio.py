"""Pure: how large an audio file may become, and how long a whole one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volcengine_client.speech.mp3 import Frame, Info, frames_of, info_of
from volcengine_client.speech.ogg import OPUS_RATE, pages_of
from volcengine_client.speech.wav import wav_data_of

if TYPE_CHECKING:
    from volcengine_client.models import TaskItem

SAMPLE_RATE_DEFAULT = 24_000  # hertz, the upstream's own
SAMPLE_BYTES = 2  # 16 bit, one channel

# --- before the call: slow voices, so that what was estimated is enough --------------------------------------------
_EDGES_MS = 1_500  # silence and encoder padding around the text
_LETTER_MS = 120  # a small Latin letter or a space; about 14 are spoken a second
_CHARACTER_MS = 350  # any other letter; of Chinese about 4.5 are spoken a second
_SIGN_MS = 450  # a digit or sign is read as a word, a mark is a pause, a capital may be spelled
_MP3_BYTES_A_SECOND = 20_000  # 160 kb/s, the upstream's default and MPEG-2's most
_OPUS_BYTES_A_SECOND = 16_000
_HEADER_BYTES = 4_096  # of any container


def audio_bytes_expected(task: TaskItem) -> int:
    """Return an upper estimate of the size of a task's audio file, in bytes, before it is bought."""
    spoken_ms = sum(map(_character_ms, task.text)) / (task.speed or 1.0)
    bytes_a_second = {
        "mp3": _MP3_BYTES_A_SECOND,
        "ogg_opus": _OPUS_BYTES_A_SECOND,
    }.get(task.encoding, SAMPLE_BYTES * (task.sample_rate or SAMPLE_RATE_DEFAULT))
    return _HEADER_BYTES + int((spoken_ms + _EDGES_MS) * bytes_a_second / 1_000)


def _character_ms(character: str) -> int:
    if character.isspace() or "a" <= character <= "z":
        return _LETTER_MS
    return _CHARACTER_MS if character.isalpha() and not character.isascii() else _SIGN_MS


def duration_ms(audio: bytes, encoding: str, sample_rate: int | None) -> int:
    """Return how long an audio file plays, in milliseconds, by walking through the whole of it.

    Args:
        audio: The file.
        encoding: mp3, wav, pcm or ogg_opus.
        sample_rate: Hertz, for pcm, which does not say; None means the upstream's default.

    Raises:
        ValueError: It is not a whole file of that encoding; the reason says why.
    """
    whole_ms = 0
    if encoding == "mp3":
        whole_ms = _mp3_ms(audio)
    elif encoding == "wav":
        whole_ms = _wav_ms(audio)
    elif encoding == "ogg_opus":
        whole_ms = _ogg_opus_ms(audio)
    elif encoding == "pcm":
        whole_ms = _pcm_ms(audio, SAMPLE_RATE_DEFAULT if sample_rate is None else sample_rate)
    else:
        raise ValueError("the encoding is unknown")
    if whole_ms == 0:
        raise ValueError("there is no sound")
    return whole_ms


def _pcm_ms(audio: bytes, sample_rate: int) -> int:
    if sample_rate <= 0:
        raise ValueError("the sample rate is not positive")
    if len(audio) % SAMPLE_BYTES:
        raise ValueError("the last pcm sample is cut")
    return _ms(len(audio) // SAMPLE_BYTES, sample_rate)


def _ms(count: int, rate: int) -> int:
    return (count * 1_000 + rate // 2) // rate


# --- mp3 ----------------------------------------------------------------------------------------------------------
def _mp3_ms(audio: bytes) -> int:
    first: Frame | None = None
    info: Info | None = None
    frame_count = 0
    for at, frame in frames_of(audio):
        if first is None:
            first, info = frame, info_of(audio[at : at + frame.size])
        frame_count += 1
    if first is None:
        raise ValueError("there is no mp3 frame")
    if info is None:
        return _ms(frame_count * first.sample_count, first.sample_rate)
    return _ms(info.heard_sample_count(frame_count - 1, first), first.sample_rate)


# --- wav ----------------------------------------------------------------------------------------------------------
def _wav_ms(audio: bytes) -> int:
    form, begins_at, ends_at = wav_data_of(audio)
    bytes_a_second = int.from_bytes(form[8:12], "little")
    if bytes_a_second == 0:
        raise ValueError("the wav format is not told")
    return _ms(ends_at - begins_at, bytes_a_second)


# --- ogg with opus ------------------------------------------------------------------------------------------------
def _ogg_opus_ms(audio: bytes) -> int:
    """Add up the streams of a file; each begins with its own header and ends with a page marked as the last."""
    sample_count, pre_skip = 0, 0
    for page in pages_of(audio):
        if page.is_first:
            pre_skip = int.from_bytes(audio[page.body_at + 10 : page.body_at + 12], "little")
        if page.is_last:
            sample_count += max(0, page.granule - pre_skip)
    return _ms(sample_count, OPUS_RATE)
