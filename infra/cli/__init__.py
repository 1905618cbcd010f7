"""The `slipway` command."""

from infra.cli.entry import main

__all__ = ["main"]
