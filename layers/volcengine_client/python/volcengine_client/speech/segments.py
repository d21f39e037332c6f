"""Pure: where a text may be cut, and the segments that come of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from volcengine_client.speech.clusters import cluster_ends
from volcengine_client.speech.gaps import Gap, Rank, gaps_of, is_readable
from volcengine_client.speech.text import cleaned

POINT_BYTES_MAX = 4  # of UTF-8


def segments_of(text: str, *, bytes_max: int) -> list[str]:
    """Cut a text into segments of at most *bytes_max* bytes of UTF-8, in order.

    A cut lies between paragraphs, else sentences, else clauses, else words, else clusters (what a reader sees as one
    character), and inside a cluster only when it alone is too long. A sentence that fits is never cut. Segments are
    filled in order; the last two share what is left, so that no stray word comes last.

    The law: the segments, with what lies between them, are `cleaned(text)`. Between them lies white space; and, where
    more characters without a letter or digit follow each other than a segment holds, the part of them that would be
    a segment that nobody can read. Every segment has a letter or digit, unless the text has none. A cleaned
    text that fits is one segment; one without anything is none.

    Args:
        text: Any text, cleaned or not.
        bytes_max: At least four.
    """
    assert bytes_max >= POINT_BYTES_MAX
    clean = cleaned(text)
    places = places_of_segments(clean, [len(character.encode()) for character in clean], size_max=bytes_max)
    return [clean[place.start : place.stop] for place in places]


def places_of_segments(text: str, sizes: Sequence[int], *, size_max: int) -> list[range]:
    """Cut a cleaned text by the law of `segments_of`, with a size for each of its characters, none above *size_max*."""
    if sum(sizes) <= size_max:
        return [range(len(text))] if text else []
    cuts = _Cuts(text, sizes, size_max)
    chosen = cuts.balanced(cuts.filled())
    places = [_stripped(text, cuts.gaps[left].next_at, cuts.gaps[right].ends_at) for left, right in pairwise(chosen)]
    return [place for place in places if is_readable(text[place.start : place.stop])] or list(filter(None, places))


def _stripped(text: str, begins_at: int, ends_at: int) -> range:
    segment = text[begins_at:ends_at]
    begins_at += len(segment) - len(segment.lstrip())
    return range(begins_at, begins_at + len(segment.strip()))


class _Cuts:
    """All the places where a text may be cut; the first is its beginning, the last its end."""

    def __init__(self, text: str, sizes: Sequence[int], size_max: int) -> None:
        self._size_max = size_max
        sums = list(accumulate(sizes, initial=0))
        self.gaps = _fitting(text, sums, size_max)
        self._befores = [sums[gap.ends_at] for gap in self.gaps]
        self._starts = [sums[gap.next_at] for gap in self.gaps]
        ranks = [gap.rank for gap in self.gaps]
        self._by_rank = [[at for at, rank in enumerate(ranks) if rank <= worst] for worst in map(int, Rank)]

    def _size(self, left: int, right: int) -> int:
        return self._befores[right] - self._starts[left]

    def filled(self) -> list[int]:
        """Choose cuts from the first gap to the last so that each segment is as full as good cuts allow."""
        chosen, last = [0], len(self.gaps) - 1
        while chosen[-1] < last:
            after = self._next(chosen[-1])
            assert after > chosen[-1]
            chosen.append(after)
        return chosen

    def _next(self, left: int) -> int:
        """Choose where the segment that begins at a gap ends.

        The best rank wins when its last cut within reach leaves the segment half full, or saves from a
        cut what comes next and fits a segment as a whole.
        """
        farthest = bisect_right(self._befores, self._starts[left] + self._size_max, lo=left) - 1
        if farthest == len(self.gaps) - 1:
            return farthest
        for cuts in self._by_rank:
            at = bisect_right(cuts, farthest) - 1
            if cuts[at] <= left:
                continue
            is_half_full = 2 * self._size(left, cuts[at]) >= self._size_max
            if is_half_full or self._size(cuts[at], cuts[at + 1]) <= self._size_max:
                return cuts[at]
        return farthest

    def balanced(self, chosen: list[int]) -> list[int]:
        """Move the last cut to the best one near the middle of the last two segments, but into no other sentence."""
        if len(chosen) <= 2:
            return chosen
        left, middle, right = chosen[-3:]
        half = (self._starts[left] + self._befores[right]) // 2
        quarter = self._size(left, right) // 4
        first = max(bisect_left(self._befores, half - quarter), left + 1)
        end = min(bisect_right(self._befores, half + quarter), right)
        for cuts in self._by_rank[: self.gaps[middle].rank + 1]:
            near = cuts[bisect_left(cuts, first) : bisect_left(cuts, end)]
            fitting = [at for at in near if max(self._size(left, at), self._size(at, right)) <= self._size_max]
            if fitting:
                return [*chosen[:-2], min(fitting, key=lambda at: abs(self._befores[at] - half)), right]
            first = max(first, cuts[bisect_right(cuts, middle) - 1])
            end = min(end, cuts[bisect_right(cuts, middle)])
        return chosen


def _fitting(text: str, sums: list[int], size_max: int) -> list[Gap]:
    """Find all gaps of a text, and more where what lies between two of them is too long for a segment."""
    gaps = [Gap(0, 0, Rank.PARAGRAPH)]
    begins_at = 0
    for gap in gaps_of(text):
        if sums[gap.ends_at] - sums[begins_at] > size_max:
            gaps.extend(_gaps_inside(text, begins_at, gap.ends_at, sums, size_max))
        gaps.append(gap)
        begins_at = gap.next_at
    return gaps


def _gaps_inside(text: str, begins_at: int, ends_at: int, sums: list[int], size_max: int) -> Iterator[Gap]:
    cut_at = at = begins_at
    for length in cluster_ends(text[begins_at:ends_at]):
        cluster_end = begins_at + length
        # A cluster that is too long itself is cut between its code points.
        is_too_long = sums[cluster_end] - sums[at] > size_max
        for end in range(at + 1, cluster_end + 1) if is_too_long else [cluster_end]:
            if sums[end] - sums[cut_at] > size_max:
                yield Gap(at, at, Rank.POINT)
                cut_at = at
            at = end
