"""Pure: the chapters of an audio file, as players and ffmpeg read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CHILDREN_MAX = 255  # of an ID3 table of contents
_TAG_BYTES_MAX = 1 << 28
_NO_OFFSET = b"\xff" * 4
_TOP, _ORDERED = 2, 1
_UTF_8 = b"\x03"


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of an audio file, in milliseconds from its beginning."""

    title: str
    start_ms: int
    end_ms: int


def ffmetadata_of(chapters: Sequence[Chapter]) -> str:
    """Return chapters as ffmpeg reads them beside any file: `ffmpeg -i book.wav -i book.ffmetadata …`."""
    blocks = (
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={chapter.start_ms}\nEND={chapter.end_ms}\ntitle={_escaped(chapter.title)}\n"
        for chapter in chapters
    )
    return "".join([";FFMETADATA1\n", *blocks])


def id3_of(chapters: Sequence[Chapter]) -> bytes:
    """Return chapters as what stands before an mp3's frames: an ID3v2.4 tag with CHAP and CTOC frames.

    Raises:
        ValueError: There are too many for a tag.
    """
    names = [f"ch{number}".encode() for number in range(len(chapters))]
    frames = b"".join([*_tables_of(names), *map(_chapter, names, chapters)])
    if len(frames) >= _TAG_BYTES_MAX:
        raise ValueError("there are too many chapters for an mp3's tag")
    return b"ID3\x04\0\0" + _size(len(frames)) + frames


def _tables_of(names: Sequence[bytes]) -> Iterator[bytes]:
    """Yield tables of contents, tables of tables where there are too many chapters for one."""
    level = 0
    while len(names) > _CHILDREN_MAX:
        groups = [names[first : first + _CHILDREN_MAX] for first in range(0, len(names), _CHILDREN_MAX)]
        names = [f"toc{level}.{number}".encode() for number in range(len(groups))]
        for name, group in zip(names, groups, strict=True):
            yield _table(name, group, flags=_ORDERED)
        level += 1
    yield _table(b"toc", names, flags=_TOP | _ORDERED)


def _table(name: bytes, children: Sequence[bytes], *, flags: int) -> bytes:
    return _frame(b"CTOC", name + b"\0" + bytes([flags, len(children)]) + b"".join(one + b"\0" for one in children))


def _chapter(name: bytes, chapter: Chapter) -> bytes:
    times = chapter.start_ms.to_bytes(4, "big") + chapter.end_ms.to_bytes(4, "big")
    title = _frame(b"TIT2", _UTF_8 + chapter.title.encode())
    return _frame(b"CHAP", name + b"\0" + times + 2 * _NO_OFFSET + title)


def _frame(name: bytes, content: bytes) -> bytes:
    return name + _size(len(content)) + bytes(2) + content


def _size(count: int) -> bytes:
    """Write a number in four bytes of seven bits."""
    return bytes(count >> shift & 0x7F for shift in (21, 14, 7, 0))


def _escaped(title: str) -> str:
    return "".join(f"\\{one}" if one in "=;#\\\n" else one for one in title)
