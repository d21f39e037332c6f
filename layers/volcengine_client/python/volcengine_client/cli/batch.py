"""`volcengine-tts batch`: a file of tasks becomes a folder of audio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from volcengine_client.cli import access, endings
from volcengine_client.cli.direct import DirectBatch
from volcengine_client.cli.endings import err, out
from volcengine_client.cli.estimate import figures_here, figures_there, shown
from volcengine_client.cli.handed_in import JobRecord
from volcengine_client.cli.progress import BatchProgress
from volcengine_client.cli.remote import RemoteBatch, parts_of
from volcengine_client.cli.track import Track
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import JobWishes, Priority
from volcengine_client.limits import (
    CONCURRENCY_DEFAULT,
    CONCURRENCY_MAX,
    JOB_BODY_BYTES,
    JOB_DEADLINE_MAX_S,
    VOICE_TYPE_CHARACTERS_MAX,
)
from volcengine_client.manifest import MANIFEST
from volcengine_client.models import Subtitles
from volcengine_client.out_folder import OutFolder
from volcengine_client.task_file import read_tasks


def batch(  # noqa: PLR0913 - one argument an option
    tasks: Annotated[Path, typer.Argument(help="Tasks: .jsonl with one a line, or .csv with a header.", exists=True)],
    *,
    folder: Annotated[Path, typer.Option("--out", "-o", help="The folder for the audio and its manifest.")] = Path(
        "out"
    ),
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
    account: access.AccountOption = None,
    app: access.AppOption = "default",
    voice: Annotated[
        str | None, typer.Option("--voice", help="The voice of tasks that name none.", show_default=False)
    ] = None,
    subtitles: Annotated[
        Subtitles | None, typer.Option("--subtitles", help="Of tasks that don't say.", show_default="none")
    ] = None,
    join: Annotated[
        Path | None,
        typer.Option(
            "--join", help="Also one file of all, with chapters: book.mp3.", show_default=False, dir_okay=False
        ),
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would take, and buy nothing.")] = False,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, max=CONCURRENCY_MAX, help="Without a gateway: calls at once, at most."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Without a gateway: the table of a pool to join.", show_default=False)
    ] = None,
    priority: Annotated[
        Priority, typer.Option("--priority", help="With a gateway: background waits behind all that is interactive.")
    ] = "background",
    deadline_s: Annotated[
        int | None,
        typer.Option("--deadline", min=1, max=JOB_DEADLINE_MAX_S, help="With a gateway: seconds it may take."),
    ] = None,
) -> None:
    """Speak a file of tasks into a folder; run it again to speak what is missing or has changed."""
    with endings.told():
        wishes = JobWishes(app=app, priority=priority, deadline_s=deadline_s)
        usual = {"voice_type": _voice(voice), "subtitles": subtitles}
        listed = read_tasks(tasks, usual={name: field for name, field in usual.items() if field is not None})
        endings.warn(listed)
        out_folder = OutFolder(folder, listed)
        track = None if join is None else Track(join, out_folder)
        if access.gateway_address(gateway) is None:
            _batch_directly(out_folder, track, concurrency=concurrency, pool=pool, app=app, is_estimate=estimate)
        else:
            with access.gateway_client(gateway, admin_key_file, account) as client:
                _batch_remotely(client, out_folder, track, wishes, is_estimate=estimate)


def _batch_directly(
    folder: OutFolder, track: Track | None, *, concurrency: int | None, pool: str | None, app: str, is_estimate: bool
) -> None:
    limits = access.concurrency_of(concurrency)
    if is_estimate:
        endings.show(shown(figures_here(folder, limit=limits.total)))
        return
    with access.direct_client(limits, pool, app) as client:
        folder.begin()
        progress = BatchProgress(err, folder.to_do_count)
        batch = DirectBatch(client, folder, progress, ahead=limits.total)
        _end(folder, progress, is_whole=_run(folder, progress, batch.run(), track), track=track)


def _batch_remotely(
    client: GatewayClient, folder: OutFolder, track: Track | None, wishes: JobWishes, *, is_estimate: bool
) -> None:
    if is_estimate:
        parts = parts_of(folder.missing, bytes_max=JOB_BODY_BYTES)
        estimates = [client.estimate_sync([piece.task for piece in part]) for part in parts]
        endings.show(shown(figures_there(folder, estimates, limit=CONCURRENCY_DEFAULT)))
        return
    folder.begin()
    progress = BatchProgress(err, folder.to_do_count)
    remote = RemoteBatch(client, folder, progress, wishes)
    is_whole = _run(folder, progress, remote.run(), track)
    if not is_whole:
        for job in JobRecord(folder.folder).read():
            err.print(
                f"Job {job.job_id} goes on at the gateway. The same command fetches it; "
                f"volcengine-tts jobs cancel {job.job_id} ends it."
            )
    _end(folder, progress, is_whole=is_whole, track=track)


def _run(folder: OutFolder, progress: BatchProgress, work: Coroutine[Any, Any, bool], track: Track | None) -> bool:
    """Do the work, then join it; tell whether it was not interrupted. The manifest is right in any case.

    Raises:
        typer.Exit: 1: the folder can't be written any more.
    """
    try:
        try:
            with progress:
                is_whole = asyncio.run(work)
            if is_whole and track is not None:
                track.write()
        except KeyboardInterrupt:
            return False
        else:
            return is_whole
        finally:
            folder.finish()
    except OSError as exc:
        endings.complain(f"{exc.filename or folder.folder}: {exc.strerror or exc}; the next run goes on from here")
        raise typer.Exit(endings.SOME_FAILED) from None


def _end(folder: OutFolder, progress: BatchProgress, *, is_whole: bool, track: Track | None) -> None:
    """Say what became of it all.

    Raises:
        typer.Exit: 130 after Ctrl-C, 1 when some failed.
    """
    found = f"{folder.found_count:,} there already, " if folder.found_count else ""
    if progress.subtitled_count:
        found += f"{progress.subtitled_count:,} subtitled, "
    out.print(
        f"{found}{progress.done_count:,} spoken ({progress.characters:,} characters), "
        f"{progress.failed_count:,} failed: {folder.folder / MANIFEST}"
    )
    for code, count in folder.errors().items():
        err.print(f"  {count:,} {code}")
    if folder.unsubtitled_count:
        err.print(f"  {folder.unsubtitled_count:,} without their subtitles")
    if track is not None:
        (out if track.is_written else err).print(track.told())
    if not is_whole:
        raise typer.Exit(endings.INTERRUPTED)
    if progress.failed_count or folder.unsubtitled_count or (track is not None and not track.is_written):
        raise typer.Exit(endings.SOME_FAILED)


def _voice(voice: str | None) -> str | None:
    if voice is not None and not 1 <= len(voice) <= VOICE_TYPE_CHARACTERS_MAX:
        raise typer.BadParameter(f"a voice has 1 to {VOICE_TYPE_CHARACTERS_MAX} characters", param_hint="--voice")
    return voice
