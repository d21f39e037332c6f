"""What every door of the gateway shares, and the self-hosted door."""

from __future__ import annotations

__version__ = "3.0.0"  # a constant: a Lambda layer is a plain directory and has no package metadata
