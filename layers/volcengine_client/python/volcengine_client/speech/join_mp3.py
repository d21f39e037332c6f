"""Pure: mp3s joined frame by frame, under one header."""

from __future__ import annotations

from typing import Final, NamedTuple

from volcengine_client.speech.mp3 import (
    DECODER_DELAY,
    FRAME_HEADER_BYTES,
    Frame,
    Info,
    frame_of,
    frames_of,
    info_of,
    is_mono,
    is_mpeg_1,
    side_bytes,
)

_CRC_BYTES: Final = 2
_HAS_NO_CRC: Final = 1
_TOC_STEPS: Final = 100
_TOC_EVERY: Final = 32  # frames between the places that the table of contents is made from
_XING_BYTES: Final = 4 + 4 + 4 + 4 + _TOC_STEPS + 4
_LAME_BYTES: Final = 36
_GAP_MAX_MS: Final = 30  # of silence that a join may add
_FADED_IN_MAX: Final = 64  # samples of sound that may be lost at a join
_DELAY_MAX: Final = 0xFFF


class _Part(NamedTuple):
    """What is taken of a segment: its frames of sound from the first to the end."""

    first: int
    end: int
    borrowed: bytes  # of the frames before, in which the first one begins


class Mp3Join:
    """Frames after frames, as they are; tags and informing frames are dropped, and one of ours comes first.

    A frame may begin in the bytes that the frames before it left over. At the beginning of a segment these would be
    another segment's, so such a frame is made silent; a decoder of the segment alone can't play it either.

    Where segments say how much silence their encoder put around the sound, a decoder of one alone leaves it out, so
    whole frames of it are dropped at a join. Bytes of them that later frames need go to the end of the frame before.
    A frame that is silent but for its last 64 samples goes too when the silence at a join would exceed 30 ms; since
    frames overlap with soft edges, the sound then fades in and does not click.
    """

    def __init__(self, _rate: int) -> None:
        self.rate = 0
        self.total_bytes = 0
        self.starts: list[int] = []
        self._header = b""
        self._frame_count = 0
        self._frame_samples = 0
        self._parts: list[_Part] = []
        self._rate_bytes: set[int] = set()
        self._delay: int | None = None
        self._padding = 0
        self._silence = 0  # samples after the sound of the last segment, as far as it is known
        self._last_frame = b""
        self._grown: dict[int, tuple[int, bytes]] = {}  # what the last frame of a segment also carries, at which rate
        self._places = [0]  # bytes before every so many frames, the header's apart

    @property
    def sample_count(self) -> int:
        return max(0, self._frame_count * self._frame_samples - (self._delay or 0) - self._padding)

    def measure(self, segment: bytes) -> None:
        frames, info = _sound_of(segment)
        at, frame = frames[0]
        header = segment[at : at + FRAME_HEADER_BYTES]
        if not self._parts:
            self._begin(header, frame, info)
        elif frame.sample_rate != self.rate or is_mono(header) != is_mono(self._header):
            raise ValueError("the sample rate or the channels change between mp3 files")
        padding = 0 if info is None else info.padding
        end = max(1, len(frames) - max(0, padding - DECODER_DELAY) // frame.sample_count)
        padding = max(0, padding - (len(frames) - end) * frame.sample_count)
        first, borrowed = 0, b""
        if info is not None and info.delay is not None and self._parts:
            first, borrowed = self._joined_at(segment, frames[:end], info.delay + DECODER_DELAY)
        encoder_delay = 0 if info is None else info.delay or 0
        heard_at = (self._frame_count - first) * frame.sample_count + encoder_delay - (self._delay or 0)
        self.starts.append(max(0, heard_at))
        self._parts.append(_Part(first, end, borrowed))
        self._padding = 0 if self._delay is None else padding
        self._silence = max(0, padding - DECODER_DELAY)
        self._add(segment, frames[first:end])

    def _joined_at(self, segment: bytes, frames: list[tuple[int, Frame]], silence: int) -> tuple[int, bytes]:
        """Choose the first frame to be taken of a segment that begins with so many samples of silence."""
        size = self._frame_samples
        first, rest = divmod(silence, size)
        if self._silence + rest > self.rate * _GAP_MAX_MS // 1_000 and size - rest <= _FADED_IN_MAX:
            first += 1
        for count in range(min(first, len(frames) - 1), 0, -1):
            borrowed = _borrowed(segment, frames, count)
            if borrowed is not None and self._lend(borrowed):
                return count, borrowed
        return 0, b""

    def _lend(self, borrowed: bytes) -> bool:
        """Make room at the end of the last frame; tell whether it can grow so far."""
        if not borrowed:
            return True
        header, size = self._last_frame, frame_of(self._last_frame[1], self._last_frame[2]).size
        for bitrate in range(header[2] >> 4, 15):
            rate_byte = bitrate << 4 | header[2] & 0x0F
            grown = frame_of(header[1], rate_byte).size - size
            if grown >= len(borrowed):
                self._grown[len(self._parts) - 1] = rate_byte, borrowed
                self._rate_bytes.add(bitrate)
                self.total_bytes += grown
                return True
        return False

    def _begin(self, header: bytes, frame: Frame, info: Info | None) -> None:
        self.rate, self._frame_samples = frame.sample_rate, frame.sample_count
        self._delay = None if info is None else info.delay
        self._header = self._informing_header(header)
        self.total_bytes = frame_of(self._header[1], self._header[2]).size

    def _add(self, segment: bytes, frames: list[tuple[int, Frame]]) -> None:
        for at, frame in frames:
            self._frame_count += 1
            self.total_bytes += frame.size
            self._rate_bytes.add(segment[at + 2] >> 4)
            self._last_frame = segment[at : at + FRAME_HEADER_BYTES]
            if self._frame_count % _TOC_EVERY == 0:
                self._places.append(self.total_bytes)

    def _informing_header(self, header: bytes) -> bytes:
        """Take a frame's header, with a bitrate that leaves room for what there is to say."""
        needed = FRAME_HEADER_BYTES + side_bytes(header) + _XING_BYTES + _LAME_BYTES
        version_byte = header[1] | _HAS_NO_CRC
        for bitrate in (header[2] >> 4, *range(1, 15)):
            rate_byte = bitrate << 4 | header[2] & 0x0C
            if frame_of(version_byte, rate_byte).size >= needed:
                return bytes([header[0], version_byte, rate_byte, header[3]])
        raise AssertionError("the highest bitrate leaves room")

    def head(self) -> bytes:
        """Write the informing frame: how many frames and bytes there are, and where each hundredth begins."""
        name = b"Info" if len(self._rate_bytes) == 1 else b"Xing"
        said = b"".join(
            (
                *(self._header, bytes(side_bytes(self._header)), name, (0xF).to_bytes(4, "big")),
                *(self._frame_count.to_bytes(4, "big"), self.total_bytes.to_bytes(4, "big"), self._toc(), bytes(4)),
                self._lame(),
            )
        )
        return said.ljust(frame_of(self._header[1], self._header[2]).size, b"\0")

    def _toc(self) -> bytes:
        """Tell for each hundredth of the time which 256th of the bytes it is."""
        places = [*self._places, self.total_bytes]
        places[0] = frame_of(self._header[1], self._header[2]).size
        entries = bytearray()
        for step in range(_TOC_STEPS):
            at, rest = divmod(step * self._frame_count / _TOC_STEPS, _TOC_EVERY)
            left = places[int(at)]
            right = places[min(int(at) + 1, len(places) - 1)]
            span = min(_TOC_EVERY, self._frame_count - int(at) * _TOC_EVERY)
            place = left + (right - left) * rest / max(1, span)
            entries.append(min(255, int(place * 256 / self.total_bytes)))
        return bytes(entries)

    def _lame(self) -> bytes:
        """Say how much silence the encoder put before the first and after the last segment, if the first one does."""
        if self._delay is None:
            return b""
        delays = (self._delay << 12 | min(self._padding, _DELAY_MAX)).to_bytes(3, "big")
        return (b"LAME3.100" + bytes(12) + delays).ljust(_LAME_BYTES, b"\0")

    def body(self, index: int, segment: bytes) -> bytes:
        part = self._parts[index]
        frames, _ = _sound_of(segment)
        written: list[bytes] = []
        held = len(part.borrowed)  # bytes before a frame that it may begin in
        for at, frame in frames[part.first : part.end]:
            sound = segment[at : at + frame.size]
            written.append(sound if _main_data_begin(sound) <= held else _silent(sound))
            held += len(_main_data(sound))
        if index in self._grown:
            written[-1] = _grown(written[-1], *self._grown[index])
        return b"".join(written)


def _sound_of(segment: bytes) -> tuple[list[tuple[int, Frame]], Info | None]:
    """Return the frames of sound, and what the informing frame before them says, if there is one."""
    frames = list(frames_of(segment))
    if not frames:
        raise ValueError("there is no mp3 frame")
    at, frame = frames[0]
    info = info_of(segment[at : at + frame.size])
    if info is not None:
        frames = frames[1:]
        if info.heard_sample_count(len(frames), frame) == 0:
            raise ValueError("there is no sound")
    return frames, info


def _borrowed(segment: bytes, frames: list[tuple[int, Frame]], count: int) -> bytes | None:
    """Return the bytes of the first frames in which the next one begins; None when they don't hold them."""
    at, frame = frames[count]
    begins_before = _main_data_begin(segment[at : at + frame.size])
    held = b"".join(_main_data(segment[at : at + frame.size]) for at, frame in frames[:count])
    return held[len(held) - begins_before :] if begins_before <= len(held) else None


def _crc_bytes(frame: bytes) -> int:
    return 0 if frame[1] & _HAS_NO_CRC else _CRC_BYTES


def _main_data_begin(frame: bytes) -> int:
    """Return how many bytes before its header a frame's sound begins, headers and the like not counted."""
    at = FRAME_HEADER_BYTES + _crc_bytes(frame)
    return frame[at] << 1 | frame[at + 1] >> 7 if is_mpeg_1(frame) else frame[at]


def _main_data(frame: bytes) -> bytes:
    """Return the bytes of a frame that hold sound, its own or that of frames after it."""
    return frame[FRAME_HEADER_BYTES + _crc_bytes(frame) + side_bytes(frame) :]


def _silent(frame: bytes) -> bytes:
    """Return a frame without sound whose other bytes later frames find where they expect them."""
    header = bytes([frame[0], frame[1] | _HAS_NO_CRC, *frame[2:FRAME_HEADER_BYTES]])
    return (header + bytes(side_bytes(frame)) + bytes(_crc_bytes(frame))) + _main_data(frame)


def _grown(frame: bytes, rate_byte: int, borrowed: bytes) -> bytes:
    """Return a frame with a higher bitrate that ends with other bytes; its checksum goes, which no decoder needs."""
    side_at = FRAME_HEADER_BYTES + _crc_bytes(frame)
    header = bytes([frame[0], frame[1] | _HAS_NO_CRC, rate_byte, frame[3]])
    sound = header + frame[side_at : side_at + side_bytes(frame)] + _main_data(frame)
    return sound.ljust(frame_of(header[1], rate_byte).size - len(borrowed), b"\0") + borrowed
