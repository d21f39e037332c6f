"""What can go wrong on a person's own machine."""

from __future__ import annotations


class LocalStackError(Exception):
    """The local stack can't do what was asked; the message says what to do about it."""
