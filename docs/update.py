"""Rewrites the help texts in docs/command-line.md from the commands themselves: `python docs/update.py`."""

import re
from pathlib import Path

from typer.testing import CliRunner

from micromacro.cli.main import app

PAGE = Path(__file__).parent / "command-line.md"
BLOCK = re.compile(r"(<!-- help:(?P<command>[ \w]*)-->\n```\n).*?(```\n)", re.DOTALL)


def help_text(command: str) -> str:
    """What `micromacro COMMAND --help` prints on a terminal of 80 columns."""
    arguments = [*command.split(), "--help"]
    return CliRunner().invoke(app, arguments, prog_name="micromacro", env={"COLUMNS": "80"}).output


def updated(page: str) -> str:
    """The page with every help text as it is now."""
    return BLOCK.sub(lambda match: match.group(1) + help_text(match["command"]) + match.group(3), page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
