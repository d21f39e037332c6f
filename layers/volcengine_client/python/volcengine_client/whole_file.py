"""Files that are there whole or not at all."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: until then, *path* is what it was before.

    Raises:
        OSError: It can't be written; nothing is left of it.
        ValueError: The path has no name.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        with suppress(OSError, ValueError):
            part.unlink(missing_ok=True)
        raise
