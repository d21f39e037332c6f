"""Files that are there whole or not at all."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PART = re.compile(r"\.[0-9a-f]{16}\.part")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: until then, *path* is what it was before.

    Raises:
        OSError: It can't be written; nothing is left of it.
        ValueError: The path has no name.
    """
    write_all_whole({path: content})


def write_all_whole(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none takes its place before all are written.

    Raises:
        OSError: One can't be written; nothing is left of any, unless the last step itself fails on the way.
        ValueError: A path has no name.
    """
    with parts_of(*contents) as parts:
        for part, content in zip(parts, contents.values(), strict=True):
            part.write_bytes(content)


@contextmanager
def parts_of(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Give a place to write for each path; when all went well what is there becomes the files, else it goes.

    Raises:
        OSError: A file can't take its place.
        ValueError: A path has no name.
    """
    parts = tuple(map(part_beside, paths))
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except BaseException:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def part_beside(path: Path) -> Path:
    """Return a name for what will become *path*; nobody else has it.

    Raises:
        ValueError: The path has no name.
    """
    return path.with_name(f".{secrets.token_hex(8)}.part")


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left of unfinished files; only where none is at work."""
    for path in folder.glob(".*.part"):
        if PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
