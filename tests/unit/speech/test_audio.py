"""Whole audio has a length; anything else is told as such."""

from __future__ import annotations

import array
import contextlib
import io
import math
import wave
from functools import cache

import lameenc
import miniaudio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcengine_client.models import TaskItem
from volcengine_client.speech.audio import audio_bytes_expected, duration_ms

ENCODINGS = ["mp3", "wav", "pcm", "ogg_opus"]


def tone(rate: int, sample_count: int) -> bytes:
    return array.array("h", (int(8_000 * math.sin(at * 2_764 / rate)) for at in range(sample_count))).tobytes()


@cache
def mp3(rate: int = 24_000, sample_count: int = 24_000, *, is_stereo: bool = False, is_vbr: bool = False) -> bytes:
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(2 if is_stereo else 1)
    encoder.set_in_sample_rate(rate)
    encoder.set_bit_rate(64)
    encoder.set_quality(7)
    if is_vbr:
        encoder.set_vbr(4)
    encoded = encoder.encode(tone(rate, sample_count * (2 if is_stereo else 1)))
    return bytes(encoded + encoder.flush())


def wav(rate: int = 24_000, sample_count: int = 24_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(tone(rate, sample_count))
    return file.getvalue()


def page(flags: int, granule: int, number: int, body: bytes) -> bytes:
    laces = bytes([255] * (len(body) // 255) + [len(body) % 255])
    fixed = bytes([0, flags]) + granule.to_bytes(8, "little", signed=True) + b"one " + number.to_bytes(4, "little")
    return b"OggS" + fixed + b"crc " + bytes([len(laces)]) + laces + body


def ogg(sample_count: int = 48_000, pre_skip: int = 312) -> bytes:
    head = b"OpusHead\x01\x01" + pre_skip.to_bytes(2, "little") + (24_000).to_bytes(4, "little") + b"\x00\x00\x00"
    return (
        page(2, 0, 0, head)
        + page(0, 0, 1, b"OpusTags" + bytes(300))
        + page(0, sample_count // 2 + pre_skip, 2, b"a" * 500)
        + page(1, -1, 3, b"b" * 200)
        + page(4, sample_count + pre_skip, 4, b"c" * 100)
    )


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("is_vbr", [False, True])
@pytest.mark.parametrize("is_stereo", [False, True])
def test_an_mp3_is_as_long_as_a_decoder_finds_it(rate: int, is_vbr: bool, is_stereo: bool) -> None:
    audio = mp3(rate, rate // 3, is_vbr=is_vbr, is_stereo=is_stereo)
    decoded = miniaudio.mp3_read_s16(audio)

    assert duration_ms(audio, "mp3", None) == round(decoded.num_frames * 1_000 / decoded.sample_rate)


def informing_frame(*, frame_count: int | None, silent: tuple[int, int] | None = None) -> bytes:
    """Return the frame that LAME puts in front of a file: MPEG-2, 24 kHz, mono, 128 kb/s."""
    said = b"Info" + (b"\x00\x00\x00\x0e" if frame_count is None else b"\x00\x00\x00\x0f")
    said += b"" if frame_count is None else frame_count.to_bytes(4, "big")
    said += bytes(4 + 100 + 4)  # size, table of contents, quality
    if silent is not None:
        said += b"LAME3.100" + bytes(12) + (silent[0] << 12 | silent[1]).to_bytes(3, "big")
    return (b"\xff\xf3\xc4\xc0" + bytes(9) + said).ljust(72 * 128_000 // 24_000, b"\x00")


def test_an_informing_frame_is_no_sound_and_tells_what_padding_is() -> None:
    audio = mp3(sample_count=24_000)  # 44 frames

    assert duration_ms(audio, "mp3", None) == 44 * 24
    assert duration_ms(informing_frame(frame_count=44) + audio, "mp3", None) == 44 * 24
    assert duration_ms(informing_frame(frame_count=None) + audio, "mp3", None) == 44 * 24
    assert duration_ms(informing_frame(frame_count=44, silent=(576, 768)) + audio, "mp3", None) == 1_000


def test_an_mp3_shorter_than_its_informing_frame_says_is_not_whole() -> None:
    for audio in (informing_frame(frame_count=45) + mp3(), informing_frame(frame_count=None)):
        with pytest.raises(ValueError, match="fewer mp3 frames"):
            duration_ms(audio, "mp3", None)


def test_tags_before_and_after_an_mp3_are_skipped() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    tag_with_footer = b"ID3\x04\x00\x10\x00\x00\x00\x05" + b"\xff\xfb123" + b"3DI\x04\x00\x10\x00\x00\x00\x05"
    audio = mp3()

    assert duration_ms(tag + tag_with_footer + audio + b"TAG" + bytes(125), "mp3", None) == 1_056
    assert duration_ms(audio + tag + audio, "mp3", None) == 2_112
    assert duration_ms(audio + bytes(50), "mp3", None) == 1_056


@pytest.mark.parametrize(
    "audio",
    [
        b"<html>",
        b"\xff",
        b"\xff\xfb",
        b"\xff\xff\xff\xff",
        b"\xff\xfb\x00\x00" + bytes(100),
        b"\xff\xfb\xf0\x00" + bytes(100),
        bytes(1_000),
        b"ID3",
        b"ID3\x04\x00\x00\x00\x00\x01\x00",
        b"ID3\x04\x00\x00\x00\x00\x00\x00",
        b"TAG" + bytes(125),
        wav(),
        mp3() + b"garbage",
        mp3()[:1_000] + b"garbage" + mp3()[1_000:],
        mp3(24_000) + mp3(16_000),
    ],
)
def test_what_is_no_whole_mp3_is_told(audio: bytes) -> None:
    with pytest.raises(ValueError, match=r"mp3|sound"):
        duration_ms(audio, "mp3", None)


@pytest.mark.parametrize("is_vbr", [False, True])
@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_every_truncation_of_an_mp3_is_noticed_or_leaves_it_shorter(rate: int, is_vbr: bool) -> None:
    audio = mp3(rate, rate // 4, is_vbr=is_vbr)
    whole_ms = duration_ms(audio, "mp3", None)

    for size in range(len(audio)):
        try:
            assert duration_ms(audio[:size], "mp3", None) < whole_ms
        except ValueError:
            continue


@settings(max_examples=1_000)
@given(st.sampled_from(ENCODINGS), st.binary(), st.sampled_from([None, 8_000, 0, -1]), st.data())
def test_any_bytes_have_a_length_or_are_refused(
    encoding: str, noise: bytes, rate: int | None, data: st.DataObject
) -> None:
    start = data.draw(
        st.sampled_from([b"", mp3(sample_count=600), wav(sample_count=9), ogg(), b"ID3", b"RIFF1234WAVE"])
    )
    at = data.draw(st.integers(0, len(start)))

    with contextlib.suppress(ValueError):
        assert duration_ms(start[:at] + noise + start[at + len(noise) :], encoding, rate) > 0


def test_a_wav_is_as_long_as_its_header_says_and_its_bytes_show() -> None:
    audio = wav(16_000, 8_000)
    at = audio.index(b"data") + 4

    assert duration_ms(audio, "wav", None) == 500
    assert duration_ms(audio + b"LIST\x04\x00\x00\x00more", "wav", None) == 500
    for unknown in (0, 0xFFFF_FFFF, 0x7FFF_FFFF):  # as writers put that stream
        assert duration_ms(audio[:at] + unknown.to_bytes(4, "little") + audio[at + 4 :], "wav", None) == 500


@pytest.mark.parametrize(
    "audio",
    [
        wav()[:-1],
        wav()[:44],
        wav()[:43],
        wav()[:12],
        b"RIFF",
        b"RIFF\x00\x00\x00\x00WAVEdata\x02\x00\x00\x00ab",
        wav(sample_count=0),
        mp3(),
    ],
)
def test_what_is_no_whole_wav_is_told(audio: bytes) -> None:
    with pytest.raises(ValueError, match="wav"):
        duration_ms(audio, "wav", None)


def test_pcm_is_as_long_as_its_samples() -> None:
    assert duration_ms(bytes(48_000), "pcm", None) == 1_000
    assert duration_ms(bytes(48_000), "pcm", 8_000) == 3_000
    with pytest.raises(ValueError, match="cut"):
        duration_ms(bytes(47_999), "pcm", None)


def test_opus_is_as_long_as_its_last_page_says() -> None:
    assert duration_ms(ogg(48_000), "ogg_opus", None) == 1_000
    assert duration_ms(ogg(48_000) + ogg(24_000), "ogg_opus", None) == 1_500


@pytest.mark.parametrize(
    "audio",
    [
        *(ogg()[:size] for size in range(0, len(ogg()), 7)),
        ogg() + b"x",
        ogg()[40:],
        ogg(0),
        ogg() + page(0, 5, 5, b"after the end"),
        page(2, 0, 0, b"vorbis" * 10),
        page(2, 0, 0, ogg()[28:47]) + page(4, 48_000, 2, b"one is missing"),
    ],
)
def test_what_is_no_whole_opus_is_told(audio: bytes) -> None:
    with pytest.raises(ValueError, match=r"ogg|sound|audio"):
        duration_ms(audio, "ogg_opus", None)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "flac"])
def test_nothing_is_no_audio(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"there is no|unknown"):
        duration_ms(b"", encoding, None)


def test_an_unknown_encoding_is_told() -> None:
    with pytest.raises(ValueError, match="encoding"):
        duration_ms(b"fLaC", "flac", None)


@pytest.mark.parametrize(
    ("text", "spoken_ms"),
    [
        ("明朝开国皇帝朱元璋也称这本书为,万物之根", 20 * 1_000 / 4.5),
        ("The quick brown fox jumps over the lazy dog.", 44 * 1_000 / 14),
        ("好", 500),
        ("1234567890", 10 * 400),
    ],
)
@pytest.mark.parametrize("speed", [None, 0.2, 0.5, 3.0])
def test_the_estimate_is_above_what_speech_takes(text: str, spoken_ms: float, speed: float | None) -> None:
    for encoding, bytes_a_second in (("mp3", 20_000), ("wav", 48_000), ("pcm", 48_000)):
        task = TaskItem(None, text, encoding=encoding, speed=speed)  # type: ignore[arg-type]

        assert audio_bytes_expected(task) > spoken_ms / (speed or 1) * bytes_a_second / 1_000


def test_the_longest_text_is_expected_to_fit_an_answer_as_mp3() -> None:
    assert audio_bytes_expected(TaskItem(None, "好" * 341)) * 4 / 3 < 5_500_000


def test_a_lower_sample_rate_makes_smaller_samples() -> None:
    sizes = [
        audio_bytes_expected(TaskItem(None, "好" * 100, encoding="pcm", sample_rate=rate))
        for rate in (8_000, 16_000, 24_000)
    ]

    assert sizes == sorted(set(sizes))
