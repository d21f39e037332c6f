"""`volcengine-tts say`: one text, to a file, a pipe or the speaker."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from volcengine_client.cli import access, endings
from volcengine_client.cli.endings import err
from volcengine_client.cli.players import Player, first_player, play
from volcengine_client.cli.voices import voices_beginning
from volcengine_client.client import VolcengineConcurrentTTS
from volcengine_client.errors import BatchStoppedError, InvalidRequestError, VolcengineError, class_of
from volcengine_client.fields import ENDINGS, encoding_by_ending
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.joined_segments import Part, asked_segments, join_parts
from volcengine_client.limits import SAY_BYTES_MAX
from volcengine_client.models import SUBTITLES, VOICE_TYPE_DEFAULT, TaskItem, TaskResult
from volcengine_client.speech.text import characters_billed
from volcengine_client.task_file import told_of
from volcengine_client.whole_file import parts_of, write_whole

PIPE = Path("-")
SUBTITLES_ASKED_MAX = 3  # times that a gateway is asked for subtitles for which it had no time
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
    language: Annotated[
        str | None, typer.Option("--language", help="What to read it as: en, ja, …", show_default="the voice's own")
    ] = None,
    silence_ms: Annotated[
        int | None, typer.Option("--silence", help="Milliseconds of it after the text.", show_default="the voice's own")
    ] = None,
    is_ssml: Annotated[bool, typer.Option("--ssml", help="The text is SSML, one <speak> element.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="The version of the voice's model.", show_default="the voice's own")
    ] = None,
    resource_id: Annotated[
        str | None, typer.Option("--resource-id", help="The product that speaks.", show_default="by the voice's id")
    ] = None,
    subtitles: Annotated[
        Path | None,
        typer.Option("--subtitles", help="A file for them: .srt, .vtt or .json.", show_default=False, dir_okay=False),
    ] = None,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
    account: access.AccountOption = None,
    app: access.AppOption = "default",
    pool: Annotated[
        str | None, typer.Option("--pool", help="Without a gateway: the table of a pool to join.", show_default=False)
    ] = None,
) -> None:
    """Say a text of up to 100,000 characters, into a file or to the speaker.

    The speaker needs one of ffplay, mpv, aplay, afplay and paplay; the first that is found plays. Without a gateway it
    is spoken with your own account, from the environment or .env: VOLCENGINE_TTS_APPID and VOLCENGINE_TTS_ACCESS_KEY,
    or VOLCENGINE_TTS_API_KEY.

    Ends with 0: said; 1: it failed; 2: something to correct; 130: interrupted.
    """
    with endings.told():
        player = _player(encoding) if file is None else None
        if file is not None:
            _check_place(file)
        wishes = {
            "sample_rate": sample_rate,
            "speed": speed,
            "volume": volume,
            "pitch": pitch,
            "emotion": emotion,
            "language": language,
            "silence_ms": silence_ms,
            "text_type": "ssml" if is_ssml else None,
            "model": model,
            "resource_id": resource_id,
            "subtitles": _form(subtitles, file),
        }
        encoded = player.encoding if player else _encoding(file, encoding)
        task = _task({"text": _text(words), "voice_type": voice, "encoding": encoded, **wishes})
        endings.warn([task])
        if access.gateway_address(gateway) is None:
            speak = partial(_directly, task, pool=pool, app=app)
        else:
            speak = partial(_remotely, task, gateway, admin_key_file, account, app=app)
        if player is not None or file is None or file == PIPE:
            _pass_on(speak, player, subtitles)
        else:
            _save(speak, file, subtitles)


@dataclass(frozen=True, slots=True)
class _Said:
    """What became of the text, beside its audio."""

    duration_ms: int
    characters: int
    subtitles: str | None = field(repr=False)

    @property
    def lines(self) -> bytes:
        """The file of subtitles."""
        return (self.subtitles or "").encode()


_Speak = Callable[[Path], _Said]


def _save(speak: _Speak, file: Path, subtitles: Path | None) -> None:
    """Write what is asked for, all of it whole or nothing at all."""
    with parts_of(file, *([] if subtitles is None else [subtitles])) as parts:
        said = speak(parts[0])
        for part in parts[1:]:
            part.write_bytes(said.lines)
    err.print(f"{file}: {said.duration_ms / 1_000:.1f} s, {said.characters:,} characters")


def _pass_on(speak: _Speak, player: Player | None, subtitles: Path | None) -> None:
    """Play audio, or write it to standard output."""
    with tempfile.TemporaryDirectory(prefix="volcengine-tts-") as folder:
        path = Path(folder) / "speech"
        said = speak(path)
        if subtitles is not None:
            write_whole(subtitles, said.lines)
        if player is not None:
            play(player, path.read_bytes())
            return
        with path.open("rb") as audio:
            copyfileobj(audio, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _player(encoding: str | None) -> Player:
    if encoding is not None:
        raise typer.BadParameter("what is played needs none; or save it: -o FILE", param_hint="--encoding")
    return first_player()


def _check_place(file: Path) -> None:
    """Take a file that can be written; any other is told before anything is bought."""
    if file == PIPE:
        if sys.stdout.isatty():
            raise typer.BadParameter("audio is nothing for a terminal; send it on: | or >", param_hint="--out")
    else:
        _check_folder(file, "--out")


def _check_folder(file: Path, option: str) -> None:
    if not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}", param_hint=option)
    if not os.access(file.parent, os.W_OK):
        raise typer.BadParameter(f"the folder {file.parent} can't be written", param_hint=option)


def _form(subtitles: Path | None, file: Path | None) -> str | None:
    """Return the form of the subtitles, by their file's name; told before anything is bought when that can't be."""
    if subtitles is None:
        return None
    form = subtitles.suffix.removeprefix(".").lower()
    if subtitles == PIPE or form not in SUBTITLES:
        raise typer.BadParameter("a file that ends with .srt, .vtt or .json", param_hint="--subtitles")
    if file is not None and subtitles.absolute() == file.absolute():
        raise typer.BadParameter("the audio has this name; take another", param_hint="--subtitles")
    _check_folder(subtitles, "--subtitles")
    return form


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


def _directly(task: TaskItem, path: Path, *, pool: str | None, app: str) -> _Said:
    """Write a text's audio, spoken with one's own account, to a file."""
    with access.direct_client(access.concurrency_of(None), pool, app) as client, _progress() as tell:
        parts = _parts(client, asked_segments(task), tell)
    try:
        with path.open("wb") as file:
            joined = join_parts(task, parts, file.write)
    except ValueError as exc:
        raise VolcengineError(f"the audio could not be joined: {exc}") from exc
    return _Said(joined.duration_ms, characters_billed(task.text), joined.subtitles)


def _parts(client: VolcengineConcurrentTTS, segments: list[TaskItem], tell: Callable[[str], None]) -> list[Part]:
    """Return what was spoken of each segment; after a failure what is under way ends, and nothing more is bought."""
    parts: dict[int, Part] = {}
    failed: TaskResult | None = None
    speaking = client.generate_each(segments)
    for index, result in speaking:
        if result.error is None:
            parts[index] = Part(partial(bytes, result.audio), result.subtitles)
            tell(f"Speaking: {len(parts):,} of {len(segments):,} parts")
        elif failed is None or failed.error is None or failed.error.code == BatchStoppedError.code:
            failed = result
            speaking.stop()
    if failed is not None:
        raise _failure(failed)
    return [parts[index] for index in range(len(segments))]


def _remotely(
    task: TaskItem, gateway: str | None, key_file: Path | None, account: str | None, path: Path, *, app: str
) -> _Said:
    """Write a text's audio, spoken by a gateway, to a file; what takes it longer than an answer is waited for."""
    with access.gateway_client(gateway, key_file, account) as client, _progress() as tell:
        tell(f"Speaking {characters_billed(task.text):,} characters")
        result = _asked(client, task, app)
        client.download_sync(result, path)
        subtitles = None if task.subtitles is None else client.subtitles_sync(result)
    return _Said(result.duration_ms or 0, result.characters, subtitles)


def _asked(client: GatewayClient, task: TaskItem, app: str) -> TaskResult:
    """Ask the gateway, and again for subtitles for which it had no time: the audio is not bought twice."""
    for _ in range(SUBTITLES_ASKED_MAX):
        [result] = client.generate_batch_sync([task], app=app)
        if result.error is not None:
            raise _failure(result)
        if task.subtitles is None or result.subtitles is not None or result.subtitles_url is not None:
            break
    return result


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done."""
    if not err.is_terminal:
        yield lambda _told: None
        return
    with err.status("Speaking") as shown:
        yield shown.update


def _failure(result: TaskResult) -> VolcengineError:
    assert result.error is not None
    return class_of(result.error.code)(result.error.message, retryable=result.error.retryable)
