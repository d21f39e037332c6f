"""Pure: opus packets of several ogg files joined to one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from volcengine_client.speech.ogg import (
    LACES_MAX,
    OPUS_RATE,
    PAGE_HEADER_BYTES,
    Stream,
    laces_of,
    page_bytes,
    sample_count_of,
    streams_of,
)

_SERIAL: Final = 1
_PAGE_SAMPLES_MAX: Final = OPUS_RATE  # a second: how far a player may have to seek
_GAP_MAX: Final = OPUS_RATE * 30 // 1_000  # samples of silence that a join may add
_WARM_UP_MIN: Final = 312  # samples that stay before the sound, libopus's own
_HEADER_PAGES: Final = 2


class _Part(NamedTuple):
    """What is taken of a segment: for each of its streams the packets from the first to the end."""

    takes: list[tuple[int, int]]
    begins_at: int  # the granule before it
    number: int  # of its first page


class OggJoin:
    """All packets in one stream, with the first file's headers and new pages.

    Silence at a join is what the encoder filled the last packet with, and what a decoder skips before the sound of the
    next file (pre-skip; libopus asks for 6.5 ms). Whole packets of the first kind are dropped; those of the second only
    as far as the join would add more than 30 ms and 6.5 ms stay, since a decoder uses them to settle.
    """

    rate = OPUS_RATE

    def __init__(self, _rate: int) -> None:
        self.total_bytes = 0
        self.starts: list[int] = []
        self._head = self._tags = b""
        self._pre_skip = 0
        self._granule = 0  # where the packets so far end
        self._filling = 0  # samples at their end that are no sound
        self._page_number = _HEADER_PAGES
        self._parts: list[_Part] = []

    @property
    def sample_count(self) -> int:
        return max(0, self._granule - self._filling - self._pre_skip)

    def measure(self, segment: bytes) -> None:
        part = _Part([], self._granule, self._page_number)
        packets: list[bytes] = []
        starts: list[int] = []
        for stream in streams_of(segment):
            self._begin(stream)
            taken, start = self._take(stream)
            starts.append(start)
            part.takes.append(taken)
            packets += stream.packets[slice(*taken)]
        if not starts:
            raise ValueError("there is no ogg page")
        self.starts.append(starts[0])
        self._parts.append(part)
        for page in _pages(packets):
            self._page_number += 1
            self.total_bytes += PAGE_HEADER_BYTES + sum(len(laces_of(packet)) + len(packet) for packet in page)

    def _begin(self, stream: Stream) -> None:
        if not self._head:
            self._head, self._tags, self._pre_skip = stream.head, stream.tags, stream.pre_skip
            self.total_bytes = sum(map(len, self._header_pages()))
        # Channels, then gain and mapping; the rate of what was encoded says nothing of the sound.
        elif (stream.head[9], stream.head[16:]) != (self._head[9], self._head[16:]):
            raise ValueError("the channels change between ogg files")

    def _take(self, stream: Stream) -> tuple[tuple[int, int], int]:
        """Choose packets of a stream; return them and where its sound begins, in samples of the joined file."""
        counts = list(map(sample_count_of, stream.packets))
        filling = max(0, sum(counts) - max(stream.granule, stream.pre_skip))
        if filling + stream.pre_skip >= sum(counts):
            raise ValueError("there is no sound in an ogg stream")
        first, end, skip = 0, len(counts), stream.pre_skip
        while filling >= counts[end - 1]:
            end -= 1
            filling -= counts[end]
        is_joined = self._granule > 0
        while is_joined and self._filling + skip > _GAP_MAX and skip - counts[first] >= _WARM_UP_MIN:
            skip -= counts[first]
            first += 1
        start = self._granule + skip - self._pre_skip
        self._granule += sum(counts[first:end])
        self._filling = filling
        return (first, end), start

    def _header_pages(self) -> tuple[bytes, ...]:
        # Tags longer than a page are replaced: they say who encoded, nothing of the sound.
        tags = self._tags if len(laces_of(self._tags)) <= LACES_MAX else b"OpusTags" + bytes(8)
        return (
            page_bytes([self._head], number=0, granule=0, serial=_SERIAL, is_first=True),
            page_bytes([tags], number=1, granule=0, serial=_SERIAL),
        )

    def head(self) -> bytes:
        return b"".join(self._header_pages())

    def body(self, index: int, segment: bytes) -> bytes:
        part = self._parts[index]
        packets: list[bytes] = []
        for stream, taken in zip(streams_of(segment), part.takes, strict=True):
            packets += stream.packets[slice(*taken)]
        granule, written = part.begins_at, []
        pages = list(_pages(packets))
        for number, page in enumerate(pages, start=part.number):
            granule += sum(map(sample_count_of, page))
            is_last = index == len(self._parts) - 1 and number == part.number + len(pages) - 1
            ends_at = granule - self._filling if is_last else granule
            written.append(page_bytes(page, number=number, granule=ends_at, serial=_SERIAL, is_last=is_last))
        return b"".join(written)


def _pages(packets: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Share packets out to pages."""
    page: list[bytes] = []
    lace_count = sample_count = 0
    for packet in packets:
        laces, samples = len(laces_of(packet)), sample_count_of(packet)
        if page and (lace_count + laces > LACES_MAX or sample_count + samples > _PAGE_SAMPLES_MAX):
            yield page
            page, lace_count, sample_count = [], 0, 0
        page.append(packet)
        lace_count += laces
        sample_count += samples
    yield page
