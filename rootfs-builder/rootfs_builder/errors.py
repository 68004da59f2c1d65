"""How a build fails."""

from __future__ import annotations


class BuildFailed(Exception):
    """A root that could not be built: what happened, where, what to do, in one line."""
