"""The command line, `volcengine-tts`; needs the extra `cli`."""

from __future__ import annotations

import sys

MISSING = "volcengine-tts: the command line needs its extra: pip install 'volcengine-concurrent-tts[cli]'\n"


def main() -> None:
    """Run the command line; says what to install when it can't."""
    try:
        from volcengine_client.cli.app import app  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("volcengine_client"):
            raise
        sys.stderr.write(MISSING)
        sys.exit(2)
    app(prog_name="volcengine-tts")
