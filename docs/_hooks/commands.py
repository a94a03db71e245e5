"""The page of the command line, made from the commands themselves: what `snnguard COMMAND --help` says, as tables."""

from typing import Any, get_type_hints

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from snnguard.choice import discover
from snnguard.cli.main import app

HEAD = """# Command line

What `snnguard COMMAND --help` says of every command, made from the commands at each build. Exit codes: 0 done, 1 judged and
failed, 2 the request was wrong, 130 stopped with Ctrl-C (the same command goes on).
"""

WORDS = {"Path": "PATH", "int": "INT", "float": "NUMBER"}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds reference/command.md."""
    files.append(File.generated(config, "reference/command.md", content=page()))


def page() -> str:
    """All commands in the order of their names."""
    discover("snnguard.cli")
    commands: dict[str, Any] = typer.main.get_command(app).commands
    return "\n".join([HEAD, *(section(name, commands[name]) for name in sorted(commands))])


def section(name: str, command: Any) -> str:
    """Usage, what it does, and a row per argument and option."""
    positional = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(["snnguard", name, *(["[OPTIONS]"] if options else []), *map(placeholder, positional)])
    rows = [(f"`{placeholder(p)}`", p.help, "") for p in positional]
    types = get_type_hints(command.callback)
    rows += [(flags(p, str(types[p.name])), p.help, "required" if p.required else default(p)) for p in options]
    table = ["| | | default |", "|---|---|---|", *(f"| {a} | {cell(b)} | {c} |" for a, b, c in rows)] if rows else []
    return "\n".join([f"## snnguard {name}", "", command.help, "", f"```\n{usage}\n```", "", *table, ""])


def placeholder(parameter: Any) -> str:
    """How an argument is written in the usage line."""
    metavar = parameter.metavar or parameter.name.upper()
    if parameter.metavar is None and parameter.nargs == -1:
        metavar += "..."
    return metavar if parameter.required or metavar.startswith("[") else f"[{metavar}]"


def flags(option: Any, annotation: str) -> str:
    """`--name TYPE`, with its other spellings."""
    takes = "" if option.is_flag else " " + next((word for name, word in WORDS.items() if name in annotation), "TEXT")
    return ", ".join(f"`{name}{takes}`" for name in (*option.opts, *option.secondary_opts))


def default(option: Any) -> str:
    return "" if option.default is None or option.default is False else f"`{option.default}`"


def cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("*", "\\*")
