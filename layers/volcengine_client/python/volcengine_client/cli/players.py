"""What plays audio on this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from volcengine_client.errors import InvalidRequestError, VolcengineError
from volcengine_client.file_names import EXTENSIONS


@dataclass(frozen=True, slots=True)
class Player:
    """A program that plays a file and ends.

    Attributes:
        command: Its name and options; the file comes last.
        encoding: What it is given.
    """

    command: tuple[str, ...]
    encoding: str


PLAYERS = (
    Player(("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"), "mp3"),
    Player(("mpv", "--no-video", "--really-quiet"), "mp3"),
    Player(("aplay", "-q"), "wav"),
    Player(("afplay",), "mp3"),
    Player(("paplay",), "wav"),
)


def first_player() -> Player:
    """Return the first of the players that this machine has.

    Raises:
        InvalidRequestError: It has none.
    """
    for player in PLAYERS:
        if shutil.which(player.command[0]):
            return player
    known = ", ".join(player.command[0] for player in PLAYERS)
    raise InvalidRequestError(f"nothing here plays audio ({known}); save it instead: -o hello.mp3")


def play(player: Player, audio: bytes) -> None:
    """Play audio, and wait for its end.

    Raises:
        VolcengineError: The player could not; the audio, which is paid for, stays in the file that the message names.
    """
    folder = Path(tempfile.mkdtemp(prefix="volcengine-tts-"))
    path = folder / f"speech{EXTENSIONS[player.encoding]}"
    is_kept = False
    try:
        path.write_bytes(audio)
        is_kept = not _has_played(player, path)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    if is_kept:
        raise VolcengineError(f"{player.command[0]} could not play it; the audio is in {path}")


def _has_played(player: Player, path: Path) -> bool:
    try:
        done = subprocess.run([*player.command, path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0
