"""The files of a task's segments become one that every player plays as if it had never been cut."""

from __future__ import annotations

import contextlib
import io
import itertools
import wave
from array import array
from functools import cache

import lameenc
import miniaudio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sounds import LOUD, decoded, encoded, sound, stated_ms
from volcengine_client.speech.audio import duration_ms
from volcengine_client.speech.join import Joiner, joined
from volcengine_client.speech.mp3 import frames_of
from volcengine_client.speech.ogg import pages_of, streams_of

ENCODINGS = ["mp3", "wav", "pcm", "ogg_opus"]
HERTZ = (310, 440, 570)
DURATIONS_MS = (300, 451, 387)


@cache
def lame(samples: bytes, rate: int, *, is_vbr: bool = False, channels: int = 1) -> bytes:
    """Return an mp3 without an informing frame, as the upstream's are."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(rate)
    encoder.set_bit_rate(64)
    encoder.set_quality(7)
    if is_vbr:
        encoder.set_vbr(4)
    return bytes(encoder.encode(samples) + encoder.flush())


def wav(samples: bytes, rate: int = 24_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def opus(samples: bytes, rate: int = 24_000, frame_ms: int = 20) -> bytes:
    return encoded(samples, encoding="ogg_opus", rate=rate, options=(("frame_duration", str(frame_ms)),))


def file_of(kind: str, samples: bytes, rate: int) -> bytes:
    if kind == "upstream mp3":
        return lame(samples, rate)
    if kind == "upstream mp3 of any bitrate":
        return lame(samples, rate, is_vbr=True)
    if kind == "ffmpeg mp3":
        return encoded(samples, encoding="mp3", rate=rate)
    return wav(samples, rate) if kind == "wav" else opus(samples, rate)


def encoding_of(kind: str) -> str:
    return "mp3" if kind.endswith(("mp3", "bitrate")) else kind


def likeness(left: array[int], right: array[int]) -> float:
    """Return 1 for the same sounds, however loud, and about 0 for others."""
    both = sum(a * b for a, b in zip(left, right, strict=True))
    return float(both / max(1, sum(a * a for a in left) * sum(b * b for b in right)) ** 0.5)


# How much a join may add to what a decoder makes of the segments alone, in milliseconds.
KINDS = {
    ("upstream mp3", 24_000): 0,
    ("upstream mp3", 8_000): 0,
    ("upstream mp3", 44_100): 0,
    ("upstream mp3 of any bitrate", 24_000): 0,
    ("ffmpeg mp3", 24_000): 24,
    ("ffmpeg mp3", 16_000): 36,
    ("ffmpeg mp3", 44_100): 27,
    ("ffmpeg mp3", 48_000): 24,
    ("wav", 24_000): 0,
    ("ogg_opus", 24_000): 30,
    ("ogg_opus", 8_000): 30,
    ("ogg_opus", 48_000): 30,
}


@pytest.mark.parametrize(("kind", "rate"), KINDS)
def test_a_decoder_finds_every_segment_at_its_place_without_gap_or_click(kind: str, rate: int) -> None:
    added_ms = KINDS[kind, rate]
    encoding = encoding_of(kind)
    files = [
        file_of(kind, sound(hertz, duration, rate), rate) for hertz, duration in zip(HERTZ, DURATIONS_MS, strict=True)
    ]
    joiner = Joiner(encoding, rate)
    for file in files:
        joiner.measure(file)

    whole, whole_ms = joined(files, encoding, rate)

    decoded_rate, samples = decoded(whole, encoding)
    alone = [decoded(file, encoding)[1] for file in files]
    decoded_ms = len(samples) * 1_000 / decoded_rate
    assert len(whole) == joiner.total_bytes
    assert whole_ms == joiner.duration_ms == duration_ms(whole, encoding, rate) == round(decoded_ms)
    assert abs(stated_ms(whole, encoding) - decoded_ms) <= 7  # ffmpeg counts opus's pre-skip
    added = len(samples) - sum(map(len, alone))
    assert -2 * 2 <= added * 1_000 / decoded_rate <= 2 * added_ms
    for start_ms, part in zip(joiner.starts_ms, alone, strict=True):
        # A tenth of a second of it lies where it should, to a millisecond.
        span = range(decoded_rate // 10, decoded_rate // 5)
        start, step = start_ms * decoded_rate // 1_000, decoded_rate // 8_000
        nearby = range(start - decoded_rate // 1_000, start + decoded_rate // 1_000 + 1, step)
        wanted = part[span.start : span.stop]
        assert max(likeness(samples[at + span.start : at + span.stop], wanted) for at in nearby) > 0.98
    steepest = LOUD * 6.3 * max(HERTZ) / decoded_rate
    assert max(abs(right - left) for left, right in itertools.pairwise(samples)) < 1.3 * steepest


@pytest.mark.parametrize("kind", ["upstream mp3", "upstream mp3 of any bitrate", "ffmpeg mp3"])
def test_another_decoder_finds_the_same_length(kind: str) -> None:
    files = [file_of(kind, sound(hertz, 300, 24_000), 24_000) for hertz in HERTZ]

    whole, whole_ms = joined(files, "mp3", None)

    played = miniaudio.mp3_read_s16(whole)
    assert abs(played.num_frames * 1_000 / played.sample_rate - whole_ms) <= 50


@given(st.lists(st.binary(min_size=48).map(lambda noise: noise[: len(noise) // 2 * 2]), min_size=1, max_size=5))
def test_joined_samples_are_the_samples(parts: list[bytes]) -> None:
    samples = b"".join(parts)

    assert joined(parts, "pcm", 24_000)[0] == samples
    whole, _ = joined([wav(part) + b"LIST\x04\x00\x00\x00more" * (len(parts) > 1) for part in parts], "wav", None)
    assert whole == wav(samples)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(40, 300), st.booleans()), min_size=2, max_size=5), st.sampled_from([8_000, 24_000])
)
def test_joined_frames_are_the_frames(parts: list[tuple[int, bool]], rate: int) -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x05" + bytes(5)
    files = [lame(sound(400, duration, rate), rate, is_vbr=is_vbr) for duration, is_vbr in parts]

    whole, _ = joined([tag + file + b"TAG" + bytes(125) for file in files], "mp3", None)

    (_, info), *_ = frames_of(whole)
    assert whole[info.size :] == b"".join(files)
    assert (b"Info" in whole[: info.size]) != (b"Xing" in whole[: info.size])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_single_segment_stays_as_it_is(encoding: str) -> None:
    samples = sound(400, 300, 24_000)
    file = {"mp3": lame(samples, 24_000), "wav": wav(samples), "pcm": samples, "ogg_opus": opus(samples)}[encoding]

    assert joined([file], encoding, None) == (file, duration_ms(file, encoding, None))


def test_a_pass_may_begin_anew() -> None:
    files = [opus(sound(hertz, 300, 24_000)) for hertz in HERTZ]
    joiner = Joiner("ogg_opus", None)
    for file in files:
        joiner.measure(file)

    joiner.head()
    joiner.body(files[0])

    assert b"".join([joiner.head(), *map(joiner.body, files), joiner.tail()]) == joined(files, "ogg_opus", None)[0]
    assert joiner.starts_ms[0] == 0


def slow_checksum(page: bytes) -> int:
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x04C1_1DB7 if register >> 31 else 0) & 0xFFFF_FFFF
            register &= 0xFFFF_FFFF
    return register


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_joined_opus_is_one_stream_of_right_pages(frame_ms: int) -> None:
    files = [opus(sound(hertz, 1_500, 24_000), frame_ms=frame_ms) for hertz in HERTZ[:2]]

    whole, _ = joined(files, "ogg_opus", None)

    pages = list(pages_of(whole))
    begins = [0, *(page.ends_at for page in pages[:-1])]
    serials = set()
    for begin, page in zip(begins, pages, strict=True):
        raw = whole[begin : page.ends_at]
        serials.add(raw[14:18])
        assert int.from_bytes(raw[22:26], "little") == slow_checksum(raw)
    assert len(serials) == 1
    assert [page.number for page in pages] == list(range(len(pages)))
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    granules = [page.granule for page in pages[1:]]
    assert all(left < right <= left + 48_000 for left, right in itertools.pairwise(granules))
    assert len(list(streams_of(whole))) == 1


def test_a_chain_of_opus_streams_in_a_segment_is_joined_too() -> None:
    first, second = (opus(sound(hertz, 300, 24_000)) for hertz in HERTZ[:2])

    chained, chained_ms = joined([first + second, first], "ogg_opus", None)

    whole, whole_ms = joined([first, second, first], "ogg_opus", None)
    assert chained_ms == whole_ms
    assert list(streams_of(chained)) == list(streams_of(whole))


def test_a_long_pre_skip_makes_no_long_gap() -> None:
    file = opus(sound(400, 500, 24_000))
    at = file.index(b"OpusHead") + 10
    early = file[:at] + (3_840).to_bytes(2, "little") + file[at + 2 :]

    whole_ms = joined([early, early], "ogg_opus", None)[1]

    assert whole_ms - 2 * duration_ms(early, "ogg_opus", None) <= 40


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_an_mp3_that_begins_in_lost_bytes_borrows_none_of_the_segment_before(rate: int) -> None:
    whole_file = lame(sound(400, 700, rate), rate)
    cut_at = list(frames_of(whole_file))[6][0]
    cut = whole_file[cut_at:]

    whole, _ = joined([lame(sound(570, 300, rate), rate), cut], "mp3", None)

    tail = decoded(whole, "mp3")[1][-len(decoded(whole_file, "mp3")[1]) // 2 :]
    assert likeness(tail, decoded(whole_file, "mp3")[1][-len(tail) :]) > 0.99


@pytest.mark.parametrize(
    ("encoding", "files", "reason"),
    [
        ("mp3", [lame(sound(400, 300, 24_000), 24_000), lame(sound(400, 300, 16_000), 16_000)], "sample rate"),
        ("mp3", [lame(bytes(9_600), 24_000), lame(bytes(9_600), 24_000, channels=2)], "channels"),
        ("mp3", [lame(bytes(9_600), 24_000), b""], "mp3"),
        ("mp3", [lame(bytes(9_600), 24_000), lame(bytes(9_600), 24_000)[:-1]], "cut"),
        ("wav", [wav(bytes(100)), wav(bytes(100), 16_000)], "sample rate"),
        ("wav", [wav(bytes(100)), wav(bytes(100), channels=2)], "channel"),
        ("wav", [wav(bytes(100), width=1), wav(bytes(100))], "16-bit"),
        ("wav", [wav(bytes(100)), wav(bytes(100))[:-1]], "less wav data"),
        ("pcm", [bytes(100), bytes(99)], "cut"),
        ("pcm", [bytes(100), b""], "no sound"),
        ("ogg_opus", [opus(sound(400, 300, 24_000)), opus(sound(400, 300, 24_000))[:-1]], "cut"),
        ("ogg_opus", [opus(sound(400, 300, 24_000)), b""], "no ogg page"),
        ("ogg_opus", [opus(sound(400, 300, 24_000)), opus(sound(400, 300, 24_000)).replace(b"d\x01\x01", b"d\x01\x02")],
         "channels"),
        ("flac", [], "nothing"),
        ("flac", [b"fLaC"], "encoding"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(encoding: str, files: list[bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        joined(files, encoding, None)


@settings(max_examples=400)
@given(st.sampled_from(["upstream mp3", "ffmpeg mp3", "wav", "ogg_opus"]), st.data())
def test_any_noise_is_joined_or_refused(kind: str, data: st.DataObject) -> None:
    file = file_of(kind, sound(400, 200, 24_000), 24_000)
    at, noise = data.draw(st.integers(0, len(file))), data.draw(st.binary(max_size=8))
    end = data.draw(st.sampled_from([at, at + len(noise), len(file)]))
    files = [file, file[:at] + noise + file[end:], file]

    joiner = Joiner(encoding_of(kind), None)
    with contextlib.suppress(ValueError):
        for part in files:
            joiner.measure(part)
        whole = b"".join([joiner.head(), *map(joiner.body, files), joiner.tail()])
        assert len(whole) == joiner.total_bytes
        assert duration_ms(whole, encoding_of(kind), None) == joiner.duration_ms
