"""Pure: the pages of an ogg file with opus, and the packets in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

OPUS_RATE = 48_000  # hertz of an opus granule, whatever the input had
PAGE_HEADER_BYTES = 27
LACES_MAX = 255  # a page; each counts up to 255 bytes
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_HEAD_BYTES_MIN = 19
_PACKET_SAMPLES_MAX = 5_760
_SILK_SAMPLES, _HYBRID_SAMPLES, _CELT_SAMPLES = (480, 960, 1_920, 2_880), (480, 960), (120, 240, 480, 960)
# Each byte with its bits in reverse order.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A page of a file: what its header says, and where its body lies."""

    flags: int
    granule: int  # samples until its end; -1 when no packet ends in it
    number: int
    laces: bytes
    body_at: int

    @property
    def is_first(self) -> bool:
        return bool(self.flags & _FIRST)

    @property
    def is_last(self) -> bool:
        return bool(self.flags & _LAST)

    @property
    def is_continued(self) -> bool:
        return bool(self.flags & _CONTINUED)

    @property
    def ends_at(self) -> int:
        return self.body_at + sum(self.laces)


class Stream(NamedTuple):
    """A stream from its first page to its last."""

    head: bytes
    tags: bytes
    packets: list[bytes]
    granule: int  # of the last page

    @property
    def pre_skip(self) -> int:
        return int.from_bytes(self.head[10:12], "little")


def pages_of(audio: bytes) -> Iterator[Page]:
    """Find every page of all streams of a file.

    Raises:
        ValueError: Something else lies between pages, one is cut or missing, or a stream is not opus.
    """
    at, number, is_open = 0, 0, False
    while at < len(audio):
        page = _page(audio, at)
        at = page.ends_at
        if page.is_first:
            is_head = audio.startswith(b"OpusHead", page.body_at) and at - page.body_at >= _HEAD_BYTES_MIN
            if is_open or not is_head:
                raise ValueError("an ogg stream does not begin as opus does")
        elif not is_open or page.number != number + 1:
            raise ValueError("an ogg page is missing")
        is_open, number = not page.is_last, page.number
        yield page
    if is_open:
        raise ValueError("the last ogg page is missing")


def _page(audio: bytes, at: int) -> Page:
    laces_at = at + PAGE_HEADER_BYTES
    if laces_at > len(audio):
        raise ValueError("the last ogg page is cut")
    if not audio.startswith(b"OggS\0", at):
        raise ValueError("there is something else than ogg pages")
    body_at = laces_at + audio[laces_at - 1]
    granule = int.from_bytes(audio[at + 6 : at + 14], "little", signed=True)
    number = int.from_bytes(audio[at + 18 : at + 22], "little")
    page = Page(audio[at + 5], granule, number, audio[laces_at:body_at], body_at)
    if page.ends_at > len(audio):
        raise ValueError("the last ogg page is cut")
    return page


def streams_of(audio: bytes) -> Iterator[Stream]:
    """Take every stream of a file apart.

    Raises:
        ValueError: As in `pages_of`; or a packet is cut, or a stream has no sound.
    """
    packets: list[bytes] = []
    begun = b""
    for page in pages_of(audio):
        if page.is_first:
            packets, begun = [], b""
        if page.is_continued != bool(begun):
            raise ValueError("an ogg packet is cut")
        at = page.body_at
        for lace in page.laces:
            begun += audio[at : at + lace]
            at += lace
            if lace < LACES_MAX:
                packets.append(begun)
                begun = b""
        if page.is_last:
            if begun:
                raise ValueError("an ogg packet is cut")
            if len(packets) < 3 or not packets[1].startswith(b"OpusTags"):
                raise ValueError("there is no sound in an ogg stream")
            yield Stream(packets[0], packets[1], packets[2:], page.granule)


def sample_count_of(packet: bytes) -> int:
    """Return how many samples an opus packet holds.

    Raises:
        ValueError: It is none.
    """
    if not packet:
        raise ValueError("an opus packet in the ogg stream is empty")
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = _SILK_SAMPLES[config & 3]
    else:
        frame = _HYBRID_SAMPLES[config & 1] if config < 16 else _CELT_SAMPLES[config & 3]
    frame_count = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    if not 0 < frame * frame_count <= _PACKET_SAMPLES_MAX:
        raise ValueError("an opus packet in the ogg stream is broken")
    return frame * frame_count


def laces_of(packet: bytes) -> bytes:
    """Return how a page writes the length of a packet."""
    return b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])


def page_bytes(
    packets: Sequence[bytes], *, number: int, granule: int, serial: int, is_first: bool = False, is_last: bool = False
) -> bytes:
    """Write a page of whole packets, whose lengths must fit it."""
    laces = b"".join(map(laces_of, packets))
    assert len(laces) <= LACES_MAX
    page = b"".join(
        (
            b"OggS\0",
            bytes([_FIRST * is_first | _LAST * is_last]),
            granule.to_bytes(8, "little"),
            serial.to_bytes(4, "little"),
            number.to_bytes(4, "little"),
            bytes(4),
            bytes([len(laces)]),
            laces,
            *packets,
        )
    )
    return page[:22] + checksum(page).to_bytes(4, "little") + page[26:]


def checksum(page: bytes) -> int:
    """Return ogg's CRC of a page whose own field is zero.

    It is zlib's of the same bits in mirrored order, but for the ones that zlib begins and ends with.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
