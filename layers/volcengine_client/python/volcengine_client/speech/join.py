"""Pure: the audio of a task's segments joined to one file, a segment at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from volcengine_client.speech.audio import SAMPLE_BYTES, SAMPLE_RATE_DEFAULT, duration_ms
from volcengine_client.speech.join_mp3 import Mp3Join
from volcengine_client.speech.join_ogg import OggJoin
from volcengine_client.speech.wav import WAV_BYTES_MAX, WAV_HEADER_BYTES, wav_header, wav_samples


class Join(Protocol):
    """What one encoding needs to join several segments; see `Joiner` for the order of calls."""

    @property
    def rate(self) -> int:
        """Samples a second that the counts are in; 0 before the first segment."""

    @property
    def total_bytes(self) -> int: ...

    @property
    def sample_count(self) -> int:
        """How much a player finds of what was measured."""

    @property
    def starts(self) -> list[int]:
        """Samples before each segment."""

    def measure(self, segment: bytes) -> None: ...
    def head(self) -> bytes: ...
    def body(self, index: int, segment: bytes) -> bytes: ...


class Joiner:
    """Join files of one encoding to one, in two passes, holding one segment at a time.

    First `measure` every segment, in order. Then `total_bytes`, `duration_ms` and `starts_ms` are known, and the file
    is `head()`, then `body(segment)` for each segment again in order, then `tail()`. `head()` begins the second
    pass anew, as often as wanted. A file of one segment is that segment, byte for byte.

    Nothing is decoded. To what a decoder makes of each segment alone a join of opus in libopus's usual packets of 20 ms
    adds at most 27 ms of silence, and one of mp3s nothing, or at most a frame (24 ms at 24 kHz, 36 ms at 16 kHz) where
    they say how much silence their encoder put around the sound. Joined wav and pcm are exact.
    """

    def __init__(self, encoding: str, sample_rate: int | None) -> None:
        """Expect files in *encoding*: mp3, wav, pcm or ogg_opus.

        Args:
            encoding: As in a task.
            sample_rate: Hertz, for pcm, which does not say; None means the upstream's default.

        Raises:
            ValueError: The encoding is unknown, or the rate not positive.
        """
        self._encoding = encoding
        self._sample_rate = SAMPLE_RATE_DEFAULT if sample_rate is None else sample_rate
        if encoding not in _JOINS or self._sample_rate <= 0:
            raise ValueError("the encoding or the sample rate is unknown")
        self._join: Join = _JOINS[encoding](self._sample_rate)
        self._sizes: list[int] = []
        self._only_ms = 0
        self._refusal: ValueError | None = None
        self._written_count = 0

    @property
    def total_bytes(self) -> int:
        """How large the file becomes, in bytes."""
        return self._sizes[0] if self._is_single else self._join.total_bytes

    @property
    def duration_ms(self) -> int:
        """How long the file plays, in milliseconds."""
        return self._only_ms if self._is_single else _ms(self._join.sample_count, self._join.rate)

    @property
    def starts_ms(self) -> list[int]:
        """When each segment begins, in milliseconds from the beginning of the file."""
        return [0] if self._is_single else [_ms(start, self._join.rate) for start in self._join.starts]

    @property
    def _is_single(self) -> bool:
        return len(self._sizes) == 1

    def measure(self, segment: bytes) -> None:
        """Take the next segment's measure.

        Raises:
            ValueError: It is no whole file of the encoding, or its rate or channels are not those of the first, or the
                first is of a kind that can't be joined. The joiner is of no use then.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._sizes:
            self._join.measure(segment)
        else:
            self._only_ms = duration_ms(segment, self._encoding, self._sample_rate)
            try:
                self._join.measure(segment)
            except ValueError as refusal:
                # It plays, but can't be joined: that matters only when there is a second one.
                self._refusal = refusal
        self._sizes.append(len(segment))

    def head(self) -> bytes:
        """Begin the file; may be nothing."""
        assert self._sizes, "nothing was measured"
        self._written_count = 0
        return b"" if self._is_single else self._join.head()

    def body(self, segment: bytes) -> bytes:
        """Go on with the next segment, which must be the one that was measured."""
        index = self._written_count
        assert len(segment) == self._sizes[index], "another segment was measured"
        self._written_count += 1
        return segment if self._is_single else self._join.body(index, segment)

    def tail(self) -> bytes:
        """End the file; nothing in the encodings that are known today."""
        assert self._written_count == len(self._sizes), "a segment is missing"
        return b""


def joined(files: Sequence[bytes], encoding: str, sample_rate: int | None) -> tuple[bytes, int]:
    """Join files to one in memory; return it and how long it plays, in milliseconds.

    Raises:
        ValueError: There is none, or as in `Joiner`.
    """
    if not files:
        raise ValueError("there is nothing to join")
    joiner = Joiner(encoding, sample_rate)
    for file in files:
        joiner.measure(file)
    return b"".join([joiner.head(), *map(joiner.body, files), joiner.tail()]), joiner.duration_ms


def _ms(count: int, rate: int) -> int:
    return (count * 1_000 + rate // 2) // rate


class _PcmJoin:
    """Samples after samples."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.total_bytes = self.sample_count = 0
        self.starts: list[int] = []

    def measure(self, segment: bytes) -> None:
        duration_ms(segment, "pcm", self.rate)
        self._add(len(segment))

    def _add(self, byte_count: int) -> None:
        self.starts.append(self.sample_count)
        self.total_bytes += byte_count
        self.sample_count += byte_count // SAMPLE_BYTES

    def head(self) -> bytes:
        return b""

    def body(self, _index: int, segment: bytes) -> bytes:
        return segment


class _WavJoin(_PcmJoin):
    """Samples after samples, after one header; chunks of anything else are dropped."""

    def __init__(self, _rate: int) -> None:
        super().__init__(0)
        self.total_bytes = WAV_HEADER_BYTES

    def measure(self, segment: bytes) -> None:
        rate, samples = wav_samples(segment)
        if self.rate not in {0, rate}:
            raise ValueError("the sample rate changes between wav files")
        self.rate = rate
        self._add(len(samples))
        if self.total_bytes > WAV_BYTES_MAX:
            raise ValueError("the wav files together are too large for one")

    def head(self) -> bytes:
        return wav_header(self.sample_count * SAMPLE_BYTES, self.rate)

    def body(self, _index: int, segment: bytes) -> bytes:
        return bytes(wav_samples(segment)[1])


_JOINS: Final[dict[str, type[Mp3Join | OggJoin | _PcmJoin]]] = {
    "mp3": Mp3Join,
    "wav": _WavJoin,
    "pcm": _PcmJoin,
    "ogg_opus": OggJoin,
}
