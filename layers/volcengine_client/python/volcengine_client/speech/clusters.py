"""Pure: what a reader sees as one character, so that none is cut in two."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_ZERO_WIDTH_JOINER = 0x200D
_PLAIN_END = 0x300  # no code point below it belongs to its neighbour
_FLAG_LETTERS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))  # two of them are a flag
_VIRAMA = 9  # the combining class of the sign that ties Indic consonants together
_JOINED_TO_THE_LEFT = {
    *(0x200C, _ZERO_WIDTH_JOINER, 0x0E33, 0x0EB3, 0xFF9E, 0xFF9F),
    *range(0x1F3FB, 0x1F400),  # tones of skin
    *range(0xE0020, 0xE0080),  # the letters of a region's flag
}
_JOINED_TO_THE_RIGHT = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}


def cluster_ends(text: str) -> list[int]:
    """Return where each cluster of *text* ends, in code points, in order.

    These are Unicode's extended grapheme clusters as near as Python's own tables allow, rather too long than too short:
    marks, joined emoji, flags, Hangul and Indic syllables stay whole. White space is always a cluster of its own.
    """
    if not text:
        return []
    if text.isascii():
        return list(range(1, len(text) + 1))
    ends: list[int] = []
    before, is_flag_begun = text[0], text[0] in _FLAG_LETTERS
    for at, after in enumerate(text[1:], start=1):
        is_flag_letter = after in _FLAG_LETTERS
        if not is_joined(before, after) or (is_flag_letter and before in _FLAG_LETTERS and not is_flag_begun):
            ends.append(at)
            is_flag_begun = is_flag_letter
        else:
            is_flag_begun = False
        before = after
    return [*ends, len(text)]


@lru_cache(maxsize=65_536)
def is_joined(before: str, after: str) -> bool:
    """Tell whether two neighbouring code points may not be parted; two letters of flags are taken for one flag."""
    left, right = ord(before), ord(after)
    if max(left, right) < _PLAIN_END or before.isspace() or after.isspace():
        return False
    if right in _JOINED_TO_THE_LEFT or unicodedata.category(after) in {"Mn", "Mc", "Me"}:
        return True
    if left in _JOINED_TO_THE_RIGHT or left == _ZERO_WIDTH_JOINER:
        return True
    if before in _FLAG_LETTERS:
        return after in _FLAG_LETTERS
    is_tied = unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo"
    return is_tied or _hangul(right) in _HANGUL_JOINS.get(_hangul(left), "")


_HANGUL_JOINS = {"L": "LVHG", "H": "VT", "V": "VT", "G": "T", "T": "T"}


def _hangul(point: int) -> str:
    """Say what part of a Korean syllable this is: L, V, T, or a whole one with an open (H) or a closed end (G)."""
    if 0xAC00 <= point <= 0xD7A3:
        return "G" if (point - 0xAC00) % 28 else "H"
    if 0x1100 <= point <= 0x115F or 0xA960 <= point <= 0xA97C:
        return "L"
    if 0x1160 <= point <= 0x11A7 or 0xD7B0 <= point <= 0xD7C6:
        return "V"
    return "T" if 0x11A8 <= point <= 0x11FF or 0xD7CB <= point <= 0xD7FB else "-"
