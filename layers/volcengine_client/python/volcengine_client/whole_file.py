"""Files that are there whole or not at all."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path

PART = re.compile(r"\.[0-9a-f]{16}\.part")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: until then, *path* is what it was before.

    Raises:
        OSError: It can't be written; nothing is left of it.
        ValueError: The path has no name.
    """
    part = part_beside(path)
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        with suppress(OSError, ValueError):
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
