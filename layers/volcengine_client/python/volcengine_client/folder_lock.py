"""A folder for one process at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from volcengine_client.errors import InvalidRequestError


class FolderLock:
    """Keeps other processes out of a folder until it is given back, or this process ends, however that happens.

    Where the system can't lock folders, on Windows, it keeps nobody out.

    Args:
        folder: There when the lock is taken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: int | None = None

    def take(self) -> None:
        """Keep the others out.

        Raises:
            InvalidRequestError: Another process does.
            OSError: The folder can't be opened.
        """
        if sys.platform == "win32":
            return
        import fcntl  # noqa: PLC0415 - not on every system

        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(folder)
            raise InvalidRequestError(f"another run is at work in {self._folder}; wait for it, or stop it") from None
        self._held = folder

    def give(self) -> None:
        """Let others in."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)
