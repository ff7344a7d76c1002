"""The page of the command line, made from the commands themselves when the site is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File, Files

from stemwise.cli import app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

PAGE = "command-line.md"
_ABOUT = """# Command line

Every command with its arguments and options, as `stemwise COMMAND --help` shows them. With
`stemwise --debug ...` any of them shows where in the program an error came from. Exit status: 0,
all went well; 1, something failed, and a sentence says what; 2, the command line is wrong; 130,
stopped by Ctrl-C; 143, by SIGTERM.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    text = "\n".join([_ABOUT, *_commands(typer.main.get_command(app), "stemwise")])
    files.append(File.generated(config, PAGE, content=text))
    return files


def _commands(group: Any, name: str) -> Iterator[str]:
    for own, command in group.commands.items():
        whole = f"{name} {own}"
        if hasattr(command, "commands"):
            yield from _commands(command, whole)
        elif not command.hidden:
            yield _described(command, whole)


def _described(command: Any, name: str) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *map(_plain, command.collect_usage_pieces(context))])
    # in the order of the usage line: options first there, arguments first here
    ordered = sorted(command.params, key=lambda one: one.param_type_name != "argument")
    records = [record for one in ordered if (record := one.get_help_record(context))]
    rows = [f"| {_code(left)} | {_text(right)} |" for left, right in records]
    table = ["| argument, option | |", "|---|---|", *rows] if rows else []
    return "\n".join(
        [f"## {name}\n", command.help or "", "", "```text", usage, "```", "", *table, ""]
    )


def _plain(usage: str) -> str:
    """`SONG...` of `{SONG...}...`."""
    return re.sub(r"^\{(.*)\}(?:\.\.\.)?$", r"\1", usage)


def _code(text: str) -> str:
    """What an option is called, with the kind of its value; arguments have a name of their own."""
    kind = r" <([\w]+)[^>]*>" if text.startswith("-") else r"()\s*<[^>]*>"
    plain = re.sub(kind, lambda found: f" {found[1].upper()}" if found[1] else "", text)
    return f"`{plain.replace('|', '/')}`"


def _text(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
