"""`volcengine-tts voices`: the known voices, without any account or network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from volcengine_client.cli import endings
from volcengine_client.cli.endings import err, out
from volcengine_client.speech.catalogue import entries, families, genders, languages
from volcengine_client.voice_list import Voice
from volcengine_client.voice_list import voices as known_voices

COLUMNS = ("id", "name", "languages", "gender", "family", "API", "styles")


def voices_beginning(incomplete: str) -> list[str]:
    """Return the ids by which a shell completes one that is begun."""
    return [entry.voice_type for entry in entries() if entry.voice_type.startswith(incomplete)]


def _beginning(known: Sequence[str], incomplete: str) -> list[str]:
    return [one for one in known if one.startswith(incomplete)]


def _languages(incomplete: str) -> list[str]:
    return _beginning(languages(), incomplete)


def _genders(incomplete: str) -> list[str]:
    return _beginning(genders(), incomplete)


def _families(incomplete: str) -> list[str]:
    return _beginning(families(), incomplete)


def voices(
    *,
    language: Annotated[
        str | None,
        typer.Option(
            "--language", help="A code: en, en-US, zh-Sichuan.", show_default=False, autocompletion=_languages
        ),
    ] = None,
    gender: Annotated[
        str | None,
        typer.Option("--gender", help="female, male or unknown.", show_default=False, autocompletion=_genders),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="small-model, seed-tts-1.0, seed-tts-2.0 or speech-to-speech.",
            show_default=False,
            autocompletion=_families,
        ),
    ] = None,
    q: Annotated[
        str | None, typer.Option("-q", "--query", help="A part of the id or the name.", show_default=False)
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON, with all that is known.")] = False,
) -> None:
    """List the known voices; works offline.

    On a terminal it is a table, else a line a voice: id, name, languages, gender, family, API and styles, with tabs
    between them. An API of "-" means that the voice can't be spoken with; --json says why.
    """
    with endings.told():
        found = known_voices(language=language, gender=gender, family=family, q=q)
        if is_json:
            typer.echo(json.dumps([asdict(voice) for voice in found], ensure_ascii=False, indent=2))
        elif out.is_terminal:
            out.print(_table(found))
        else:
            for voice in found:
                typer.echo("\t".join(_cells(voice)))
        if not found:
            err.print("No known voice is like that.")


def _table(found: Sequence[Voice]) -> Table:
    table = Table(*COLUMNS, box=None, header_style="bold")
    for voice in found:
        table.add_row(*map(Text, _cells(voice)), style="" if voice.api else "dim")
    return table


def _cells(voice: Voice) -> tuple[str, ...]:
    return (
        voice.id,
        voice.name,
        ",".join(voice.languages),
        voice.gender,
        voice.family,
        voice.api or "-",
        ",".join(voice.styles),
    )
