"""The commands."""

from __future__ import annotations

import typer

from volcengine_client.cli.batch import batch
from volcengine_client.cli.jobs import jobs_app
from volcengine_client.cli.say import say
from volcengine_client.cli.status import status
from volcengine_client.cli.voices import voices

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables: keys and texts
    help="Text-to-speech of Volcano Engine, within the account's limit.",
    epilog="Ends with 0: all spoken; 1: some failed; 2: something to correct; 130: interrupted.",
)
app.command()(say)
app.command()(batch)
app.command()(voices)
app.command()(status)
app.add_typer(jobs_app, name="jobs")
