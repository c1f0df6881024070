"""The reference of the command line, from the parser itself."""

import argparse

from mkdocs.structure.files import File, Files

from polystep_snn.cli.main import make_parser

PAGE = "reference/command-line.md"


def on_files(files: Files, config) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, by its name."""
    found = [action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices)


def page() -> str:
    """All commands, each with its usage, options and examples."""
    parts = [
        "# Command line",
        "Every command has `--help`. It checks its arguments before it reads anything. Results for people go to standard error; with "
        "`--json` the last line of standard output is one JSON object. The exit code is 0, 2 for what you can mend, 3 for a backend that "
        "failed, and 128 plus the signal's number for a run that was stopped.",
        "This page is made from the parser when the site is built.",
    ]
    return "\n\n".join(parts + [text for name, parser in commands().items() for text in _command(name, parser)]) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> list[str]:
    positional = [action for action in parser._actions if not action.option_strings]
    usage = " ".join([parser.prog, *(_values(action) for action in positional), "[options]"])
    description = (parser.description or "").strip()
    parts = [f"## {name}", description[:1].upper() + description[1:], f"```text\n{usage}\n```"]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS and action.dest != "help"]
        if shown:
            title = (group.title or "").strip()
            parts.append(f"**{title[:1].upper()}{title[1:]}**")
            parts.append("\n".join(["| | values | |", "| --- | --- | --- |", *(_row(action) for action in shown)]))
    if parser.epilog:
        lines = [line.strip() for line in parser.epilog.splitlines()[1:] if line.strip()]
        parts.append("**Examples**\n\n```text\n" + "\n".join(lines) + "\n```")
    return parts


def _values(action: argparse.Action) -> str:
    """What stands behind an option, or in place of an argument."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    word = action.metavar or action.dest.upper()
    word = word if isinstance(word, str) else " ".join(word)
    return f"{word} [{word} …]" if action.nargs == "+" else word


def _row(action: argparse.Action) -> str:
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.dest}`"
    values = _values(action)
    values = ", ".join(f"`{choice}`" for choice in action.choices) if action.choices else f"`{values}`" if values else ""
    text = (action.help or "").replace("%%", "%").replace("%(default)s", str(action.default)).replace("|", "\\|")
    return f"| {flags} | {values} | {text} |"
