"""Start the simulated upstream: `python -m infra.local.upstream --help`."""

from __future__ import annotations

import asyncio
import signal
import sys

from infra.local.upstream.options import Options, options_of
from infra.local.upstream.server import HOST, Upstream


async def run(options: Options) -> int:
    """Serve until the process is told to stop; return its exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    upstream = Upstream(options.rules)
    try:
        await upstream.start(options.port)
    except OSError as exc:
        await upstream.stop()
        print(f"Can't listen on {HOST}:{options.port}: {exc.strerror}. Choose another --port.", file=sys.stderr)
        return 1
    if options.port_file is None:
        print(upstream.url, flush=True)
    else:
        whole = options.port_file.with_name(options.port_file.name + ".new")
        whole.write_text(upstream.url + "\n")
        whole.replace(options.port_file)  # so that nobody reads half a line
    await stop.wait()
    await upstream.stop()
    return 0


def main() -> int:
    """Read the command line and serve."""
    return asyncio.run(run(options_of(sys.argv[1:])))


if __name__ == "__main__":
    raise SystemExit(main())
