"""Pure: how large an audio file may become, and how long a whole one is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

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


# --- mp3: MPEG 1, 2 and 2.5, layer III ----------------------------------------------------------------------------
_MPEG_1, _MPEG_2, _MPEG_2_5 = 3, 2, 0
_LAYER_3 = 1
_MONO = 3
_SAMPLE_RATES = {
    _MPEG_1: (44_100, 48_000, 32_000),
    _MPEG_2: (22_050, 24_000, 16_000),
    _MPEG_2_5: (11_025, 12_000, 8_000),
}
_KILOBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KILOBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_FRAME_HEADER_BYTES = 4
_ID3V1_BYTES = 128
_ID3V2_HEADER_BYTES = 10


class _Frame(NamedTuple):
    size: int  # bytes, header included
    sample_count: int
    sample_rate: int


class _Info(NamedTuple):
    """What the first frame says of the rest when it holds no sound: Xing's or LAME's."""

    frame_count: int | None
    silent_sample_count: int  # the encoder's padding at both ends


@cache
def _frame(version_byte: int, rate_byte: int) -> _Frame:
    """Read the two bytes of a frame's header on which its length depends."""
    version, layer = version_byte >> 3 & 3, version_byte >> 1 & 3
    bitrate, rate, is_padded = rate_byte >> 4, rate_byte >> 2 & 3, rate_byte >> 1 & 1
    if version_byte < 0xE0 or version not in _SAMPLE_RATES or layer != _LAYER_3 or rate == 3:
        raise ValueError("there is something else than mp3 frames")
    if bitrate in {0, 15}:
        raise ValueError("an mp3 frame has no bitrate")
    sample_rate = _SAMPLE_RATES[version][rate]
    kilobits, sample_count = (_KILOBITS_1, 1_152) if version == _MPEG_1 else (_KILOBITS_2, 576)
    size = sample_count // 8 * kilobits[bitrate] * 1_000 // sample_rate + is_padded
    return _Frame(size, sample_count, sample_rate)


def _mp3_ms(audio: bytes) -> int:
    at, end = 0, len(audio)
    first: _Frame | None = None
    info: _Info | None = None
    frame_count = 0
    while at < end:
        if audio[at] != 0xFF:
            at = _after_tag(audio, at)
            continue
        if at + _FRAME_HEADER_BYTES > end:
            raise ValueError("the last mp3 frame is cut")
        frame = _frame(audio[at + 1], audio[at + 2])
        if at + frame.size > end:
            raise ValueError("the last mp3 frame is cut")
        if first is None:
            first, info = frame, _info_of(audio[at : at + frame.size])
        elif frame.sample_rate != first.sample_rate:
            raise ValueError("the sample rate changes between mp3 frames")
        frame_count += 1
        at += frame.size
    if first is not None and info is not None:
        return _ms(_sample_count(frame_count - 1, first, info), first.sample_rate)
    if first is None:
        raise ValueError("there is no mp3 frame")
    return _ms(frame_count * first.sample_count, first.sample_rate)


def _sample_count(frame_count: int, first: _Frame, info: _Info) -> int:
    """Count what is heard of the frames after an informing one."""
    if frame_count < max(1, info.frame_count or 0):
        raise ValueError("there are fewer mp3 frames than the first one says")
    return max(0, frame_count * first.sample_count - info.silent_sample_count)


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


def _info_of(frame: bytes) -> _Info | None:
    """Read the informing frame that Xing's and LAME's encoders put first; None when it is a frame of sound."""
    is_mpeg_1, is_mono = frame[1] >> 3 & 3 == _MPEG_1, frame[3] >> 6 == _MONO
    side_bytes = (17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)
    at = _FRAME_HEADER_BYTES + side_bytes
    if frame[at : at + 4] not in {b"Xing", b"Info"}:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8
    frame_count = int.from_bytes(frame[at : at + 4], "big") if flags & 1 else None
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    silent_sample_count = 0
    if frame[at : at + 4] in {b"LAME", b"Lavf", b"Lavc"}:
        delays = int.from_bytes(frame[at + 21 : at + 24], "big")
        silent_sample_count = (delays >> 12) + (delays & 0xFFF)
    return _Info(frame_count, silent_sample_count)


# --- wav ----------------------------------------------------------------------------------------------------------
_STREAMED_BYTES_MIN = 0x7FFF_F000  # sizes from here on, and 0, are what writers put who don't know the size yet


def _wav_ms(audio: bytes) -> int:
    if audio[:4] != b"RIFF" or audio[8:12] != b"WAVE":
        raise ValueError("there is no wav header")
    at, bytes_a_second = 12, 0
    while at + 8 <= len(audio):
        name, stated = audio[at : at + 4], int.from_bytes(audio[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            return _wav_data_ms(stated, len(audio) - at, bytes_a_second)
        if name == b"fmt ":
            bytes_a_second = int.from_bytes(audio[at + 8 : at + 12], "little")
        at += stated + stated % 2
    raise ValueError("there is no wav data")


def _wav_data_ms(stated: int, present: int, bytes_a_second: int) -> int:
    if bytes_a_second == 0:
        raise ValueError("the wav format is not told")
    if stated == 0 or stated >= _STREAMED_BYTES_MIN:
        stated = present
    if stated == 0:
        raise ValueError("the wav data is empty")
    if stated > present:
        raise ValueError("there is less wav data than its header says")
    return _ms(stated, bytes_a_second)


# --- ogg with opus ------------------------------------------------------------------------------------------------
_PAGE_HEADER_BYTES = 27
_OPUS_RATE = 48_000  # hertz of an opus granule, whatever the input had
_FIRST, _LAST = 2, 4


def _ogg_opus_ms(audio: bytes) -> int:
    """Add up the streams of a file; each begins with its own header and ends with a page marked as the last."""
    at, sample_count, is_open = 0, 0, False
    pre_skip, sequence = 0, 0
    while at < len(audio):
        flags, granule, number, body_at, at = _page(audio, at)
        if flags & _FIRST:
            if is_open or audio[body_at : body_at + 8] != b"OpusHead" or at - body_at < 19:
                raise ValueError("an ogg stream does not begin as opus does")
            is_open, pre_skip, sequence = True, int.from_bytes(audio[body_at + 10 : body_at + 12], "little"), number
        elif not is_open or number != sequence + 1:
            raise ValueError("an ogg page is missing")
        sequence = number
        if flags & _LAST:
            is_open = False
            sample_count += max(0, granule - pre_skip)
    if is_open:
        raise ValueError("the last ogg page is missing")
    return _ms(sample_count, _OPUS_RATE)


def _page(audio: bytes, at: int) -> tuple[int, int, int, int, int]:
    """Return a page's flags, granule and number, where its body begins and where it ends."""
    segments_at = at + _PAGE_HEADER_BYTES
    if segments_at > len(audio):
        raise ValueError("the last ogg page is cut")
    if not audio.startswith(b"OggS\0", at):
        raise ValueError("there is something else than ogg pages")
    body_at = segments_at + audio[segments_at - 1]
    ends_at = body_at + sum(audio[segments_at:body_at])
    if ends_at > len(audio):
        raise ValueError("the last ogg page is cut")
    granule = int.from_bytes(audio[at + 6 : at + 14], "little", signed=True)
    return audio[at + 5], granule, int.from_bytes(audio[at + 18 : at + 22], "little"), body_at, ends_at
