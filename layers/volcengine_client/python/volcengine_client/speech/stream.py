"""Pure: a stream of JSON objects, taken apart wherever its bytes were cut.

The upstream writes one object after another, on lines of their own or glued together, and the network cuts them
anywhere. Only where an object ends is found here; the reading is left to the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 32  # brackets within brackets; the upstream's objects have four
_BLANKS = re.compile(rb"[ \t\r\n]*")
_BRACKET = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')


class Objects:
    """Gives the objects of a stream as their last bytes come.

    Args:
        object_bytes_max: How large one object may be.
        bytes_max: How large all of it may be, blanks between objects included.
    """

    def __init__(self, *, object_bytes_max: int, bytes_max: int) -> None:
        self._object_bytes_max = object_bytes_max
        self._bytes_left = bytes_max
        self._held = bytearray()  # from the beginning of an object that is not whole
        self._at = 0  # how far `_held` was looked at
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False  # the last byte looked at was a backslash

    @property
    def is_between(self) -> bool:
        """Whether no object has begun without having ended."""
        return not self._held

    def feed(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """Take the next bytes, and yield the objects that they complete, each before what is behind it is looked at.

        Raises:
            ValueError: They are no such stream, or too long. The message quotes nothing.
        """
        self._bytes_left -= len(piece)
        if self._bytes_left < 0:
            raise ValueError("the stream is too long")
        self._held += piece
        while (end := self._end()) is not None:
            said = _read(bytes(self._held[:end]))
            del self._held[:end]
            self._at = 0
            yield said
        if len(self._held) > self._object_bytes_max:
            raise ValueError("an object is too long")

    def _end(self) -> int | None:
        """Return where the object that is held ends; None when that is still to come."""
        if self._depth == 0 and not self._begins():
            return None
        while self._at < len(self._held):
            if self._is_in_string:
                self._leave_string()
                continue
            found = _BRACKET.search(self._held, self._at)
            self._at = found.end() if found else len(self._held)
            if found and self._step(found[0]):
                return self._at
        return None

    def _begins(self) -> bool:
        """Drop the blanks between objects; tell whether one begins after them."""
        blanks = _BLANKS.match(self._held)
        blank_count = blanks.end() if blanks else 0
        del self._held[:blank_count]
        if self._held and self._held[0] != ord("{"):
            raise ValueError("there is something else than objects")
        return bool(self._held)

    def _leave_string(self) -> None:
        """Go to the end of the string, or of what is held of it."""
        if self._is_escaped:
            self._at += 1
            self._is_escaped = False
            return
        found = _STRING_END.search(self._held, self._at)
        self._at = found.end() if found else len(self._held)
        self._is_escaped = bool(found) and self._held[self._at - 1] == ord("\\")
        self._is_in_string = not found or self._is_escaped

    def _step(self, mark: bytes) -> bool:
        """Note a mark outside of strings; tell whether the object ended with it."""
        if mark == b'"':
            self._is_in_string = True
            return False
        self._depth += 1 if mark in b"{[" else -1
        if self._depth > DEPTH_MAX:
            raise ValueError("an object is too deep")
        return self._depth == 0


def _read(raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise ValueError("an object is not JSON") from None
    assert isinstance(said, dict), "it began with a brace"
    return said
