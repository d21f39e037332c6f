"""Pure: what is sent of a text, and what it costs."""

from __future__ import annotations

import re
import unicodedata

_BREAKS = {0x09: " ", 0x0A: "\n", 0x0D: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"}
# Marks that nobody hears and that the upstream chokes on: direction marks, byte order mark, zero-width space and word
# joiner, soft hyphen. The zero-width joiners stay: Persian, Hindi and composed emoji are spelled with them.
_UNHEARD = {0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}

# Whatever may have to go or change: most texts have none of it, and are looked at once and not letter by letter.
_ODD = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def cleaned(text: str) -> str:
    """Return *text* without what the upstream refuses and nobody hears.

    Control characters go, tabs become spaces and every kind of line end becomes a newline; letters, digits,
    punctuation and emoji stay, since only the upstream knows what a voice can read. Never longer than *text*, in
    characters or in bytes of UTF-8; "" when nothing was left. Cleaning twice changes nothing.
    """
    return without_unheard(text).strip()


def without_unheard(text: str) -> str:
    """Return *text* cleaned, but with the white space at its ends, so that lines keep their numbers."""
    return _ODD.sub(lambda odd: _kept(odd[0]), text.replace("\r\n", "\n"))


def characters_billed(text: str) -> int:
    """Return how many characters the upstream bills for *text*: each letter, digit, mark, space and newline is one."""
    return len(cleaned(text))


def _kept(character: str) -> str:
    point = ord(character)
    if point in _BREAKS:
        return _BREAKS[point]
    is_noncharacter = point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF
    is_unheard = point in _UNHEARD or is_noncharacter or unicodedata.category(character) in {"Cc", "Cs"}
    return "" if is_unheard else character
