"""`volcengine-tts jobs`: list, show, cancel and download what a gateway works on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from volcengine_client.cli import access, endings
from volcengine_client.cli.download import DownloadedJob
from volcengine_client.cli.endings import err, out
from volcengine_client.jobs import Job, JobState

jobs_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs at a gateway: list, show, cancel, download."
)
JobArgument = Annotated[str, typer.Argument(help="The job's id.")]


@jobs_app.command("list")
def list_jobs(
    *,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
    account: access.AccountOption = None,
    app: Annotated[str | None, typer.Option("--app", help="Only this app's.", show_default=False)] = None,
    state: Annotated[JobState | None, typer.Option("--state", help="Only those in it.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the youngest first.")] = 50,
) -> None:
    """List the account's jobs."""
    with endings.told(), access.gateway_client(gateway, admin_key_file, account) as client:
        table = Table(
            Column("job", no_wrap=True, min_width=32),
            "state",
            "app",
            "tasks",
            "done",
            "failed",
            "characters",
            "created",
            box=None,
        )
        for _, job in zip(range(limit), client.jobs_sync(app=app, state=state), strict=False):
            figures = (f"{count:,}" for count in (job.tasks, job.done, job.failed, job.characters))
            table.add_row(job.job_id, job.state, Text(job.app), *figures, _instant(job.created_at_ms))
        endings.show(table)


@jobs_app.command("show")
def show_job(
    job_id: JobArgument,
    *,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
) -> None:
    """Tell how a job stands."""
    with endings.told(), access.gateway_client(gateway, admin_key_file, None) as client:
        _show(client.job_sync(job_id))


@jobs_app.command("cancel")
def cancel_job(
    job_id: JobArgument,
    *,
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
) -> None:
    """Cancel a job: no further call starts, finished audio stays."""
    with endings.told(), access.gateway_client(gateway, admin_key_file, None) as client:
        _show(client.cancel_sync(job_id))


@jobs_app.command("download")
def download_job(
    job_id: JobArgument,
    *,
    folder: Annotated[Path, typer.Option("--out", "-o", help="The folder for the audio and its manifest.")] = Path(
        "out"
    ),
    gateway: access.GatewayOption = None,
    admin_key_file: access.KeyFileOption = None,
) -> None:
    """Fetch a job's audio and subtitles as they come, until the job is over; run it again to fetch what is missing."""
    with endings.told(), access.gateway_client(gateway, admin_key_file, None) as client:
        downloaded = DownloadedJob(client, job_id, folder)
        try:
            asyncio.run(downloaded.fetch())
        finally:
            downloaded.finish()
        out.print(f"{downloaded.done_count:,} files, {downloaded.failed_count:,} failed tasks in {folder}")
        if downloaded.unsubtitled_count:
            err.print(f"  {downloaded.unsubtitled_count:,} without their subtitles; run it again")
        if downloaded.failed_count or downloaded.unsubtitled_count:
            raise typer.Exit(endings.SOME_FAILED)


def _show(job: Job) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("job", job.job_id)
    table.add_row("state", job.state)
    table.add_row("app", Text(job.app))
    table.add_row("priority", job.priority)
    table.add_row("tasks", f"{job.tasks:,}, {job.done:,} done, {job.failed:,} failed")
    table.add_row("characters", f"{job.characters:,}, {job.characters_bought:,} bought so far")
    for name in ("created", "started", "ended", "expected_end", "expires"):
        instant_ms = getattr(job, f"{name}_at_ms", None) if name != "expected_end" else job.expected_end_ms
        if instant_ms is not None:
            table.add_row(name.replace("_", " "), _instant(instant_ms))
    if job.error is not None:
        table.add_row("error", Text(f"{job.error.code}: {job.error.message}"))
    endings.show(table)


def _instant(at_ms: int | None) -> str:
    return "" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
