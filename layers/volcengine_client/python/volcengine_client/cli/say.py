"""`volcengine-tts say`: one text, to a file, a pipe or the speaker."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from volcengine_client.cli import access, endings
from volcengine_client.cli.endings import err
from volcengine_client.cli.players import Player, first_player, play
from volcengine_client.cli.voices import voices_beginning
from volcengine_client.errors import InvalidRequestError, VolcengineError, class_of
from volcengine_client.limits import SAY_BYTES_MAX
from volcengine_client.models import ENDINGS, VOICE_TYPE_DEFAULT, TaskItem, TaskResult, encoding_by_ending
from volcengine_client.task_file import told_of
from volcengine_client.whole_file import write_whole

PIPE = Path("-")
_TASK = TypeAdapter(TaskItem)


def say(  # noqa: PLR0913 - one argument an option
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="What to say; none, or -, reads it from standard input, as UTF-8."),
    ] = None,
    *,
    voice: Annotated[
        str, typer.Option("--voice", "-v", help="The voice; see `voices`.", autocompletion=voices_beginning)
    ] = VOICE_TYPE_DEFAULT,
    file: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; - is standard output.", show_default="played", dir_okay=False),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="mp3, wav, pcm or ogg_opus.", show_default="as the file's name ends, else mp3"),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option("--sample-rate", help="Samples a second.", show_default="24000")
    ] = None,
    speed: Annotated[float | None, typer.Option("--speed", help="Ratio, 0.2 to 3.", show_default="1")] = None,
    volume: Annotated[float | None, typer.Option("--volume", help="Ratio, 0.1 to 3.", show_default="1")] = None,
    pitch: Annotated[float | None, typer.Option("--pitch", help="Semitones, -12 to 12.", show_default="0")] = None,
    emotion: Annotated[
        str | None, typer.Option("--emotion", help="One that the voice has; see `voices`.", show_default="none")
    ] = None,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
    account: access.AccountOption = None,
    app: access.AppOption = "default",
    pool: Annotated[
        str | None, typer.Option("--pool", help="Without a gateway: the table of a pool to join.", show_default=False)
    ] = None,
) -> None:
    """Say a text, into a file or to the speaker.

    The speaker needs one of ffplay, mpv, aplay, afplay and paplay; the first that is found plays. Without a gateway it
    is spoken with your own account, from the environment or .env: VOLCENGINE_TTS_APPID and VOLCENGINE_TTS_ACCESS_KEY,
    or VOLCENGINE_TTS_API_KEY.

    Ends with 0: said; 1: it failed; 2: something to correct; 130: interrupted.
    """
    with endings.told():
        player = _player(encoding) if file is None else None
        if file is not None:
            _check_place(file)
        sound = {"sample_rate": sample_rate, "speed": speed, "volume": volume, "pitch": pitch, "emotion": emotion}
        encoded = player.encoding if player else _encoding(file, encoding)
        task = _task({"text": _text(words), "voice_type": voice, "encoding": encoded, **sound})
        endings.warn([task])
        with err.status("Speaking") if err.is_terminal else nullcontext():
            if access.gateway_address(gateway) is None:
                audio, result = _directly(task, pool=pool, app=app)
            else:
                audio, result = _remotely(task, gateway, admin_key_file, account, app=app)
        if file is not None:
            _save(file, audio, result)
        elif player is not None:
            play(player, audio)


def _save(file: Path, audio: bytes, result: TaskResult) -> None:
    """Write audio where it should go, whole or not at all."""
    if file == PIPE:
        sys.stdout.buffer.write(audio)
        sys.stdout.buffer.flush()
    else:
        write_whole(file, audio)
        err.print(f"{file}: {(result.duration_ms or 0) / 1_000:.1f} s, {result.characters:,} characters")


def _player(encoding: str | None) -> Player:
    if encoding is not None:
        raise typer.BadParameter("what is played needs none; or save it: -o FILE", param_hint="--encoding")
    return first_player()


def _check_place(file: Path) -> None:
    """Take a file that can be written; any other is told before anything is bought."""
    if file == PIPE:
        if sys.stdout.isatty():
            raise typer.BadParameter("audio is nothing for a terminal; send it on: | or >", param_hint="--out")
    elif not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}", param_hint="--out")
    elif not os.access(file.parent, os.W_OK):
        raise typer.BadParameter(f"the folder {file.parent} can't be written", param_hint="--out")


def _encoding(file: Path | None, encoding: str | None) -> str:
    """Return what was asked for, in one way or the other."""
    if encoding is not None and encoding not in ENDINGS.values():
        raise typer.BadParameter("mp3, wav, pcm or ogg_opus", param_hint="--encoding")
    named = None if file is None else encoding_by_ending(file.name)
    if None not in {named, encoding} and named != encoding:
        raise typer.BadParameter(f"the file's name ends like {named}; leave this out", param_hint="--encoding")
    return encoding or named or "mp3"


def _text(words: list[str] | None) -> str:
    if words and words != ["-"]:
        return " ".join(words)
    if sys.stdin.isatty():
        err.print("Reading the text; end it with Ctrl-D")
    content = sys.stdin.buffer.read(SAY_BYTES_MAX + 1)
    if len(content) > SAY_BYTES_MAX:
        raise InvalidRequestError(f"the text on standard input is longer than {SAY_BYTES_MAX:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise InvalidRequestError(f"standard input, line {line}: not UTF-8") from None


def _task(fields: dict[str, Any]) -> TaskItem:
    try:
        return _TASK.validate_python({name: value for name, value in fields.items() if value is not None})
    except ValidationError as exc:
        # Without its cause, which quotes the text.
        raise InvalidRequestError(told_of(exc)) from None


def _directly(task: TaskItem, *, pool: str | None, app: str) -> tuple[bytes, TaskResult]:
    with access.direct_client(access.concurrency_of(None), pool, app) as client:
        [result] = client.generate_batch_sync([task])
    if result.error is not None:
        raise _failure(result)
    return result.audio, result


def _remotely(
    task: TaskItem, gateway: str | None, key_file: Path | None, account: str | None, *, app: str
) -> tuple[bytes, TaskResult]:
    with access.gateway_client(gateway, key_file, account) as client:
        [result] = client.generate_batch_sync([task], app=app)
        if result.error is not None:
            raise _failure(result)
        return client.audio_sync(result), result


def _failure(result: TaskResult) -> VolcengineError:
    assert result.error is not None
    return class_of(result.error.code)(result.error.message, retryable=result.error.retryable)
