"""What is typed wrongly, said in one line like any other error; typer would draw a box around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

MISTYPED: type[Exception] = typer.BadParameter.__bases__[0]
"""Unknown options and commands, missing and bad values; typer does not export their class."""


def tell(error: Any, args: Sequence[str]) -> int:
    """Print what is wrong with ``args`` and whose help says more; the help itself where only a command is missing.

    Returns:
        The exit code.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    path = "gtloop" if error.ctx is None else error.ctx.command_path
    if error.ctx is None and args and not args[0].startswith("-"):  # where an option lacks its value
        path += f" {args[0]}"
    text = " ".join(error.format_message().split()).rstrip(".")
    print(f"error: {text[:1].lower()}{text[1:]}; see: {path} --help", file=sys.stderr)
    return int(error.exit_code)
