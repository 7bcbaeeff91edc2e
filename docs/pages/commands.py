"""Every command, from the parser of the command line."""

import argparse
from collections.abc import Iterator

from kdpipe.cli import main
from pages.markdown import cell, sentence, table


def commands() -> Iterator[str]:
    yield """
# Commands

`kdpipe COMMAND --help` prints the same. A user error is one message, with exit code 2
([errors](errors.md)).

## Commands for users
"""
    known = main.load_commands()
    yield from (line for word, one in known.items() if one.order < 200 for line in _command(word))
    yield """
## Commands called by rules

They can also be called by hand: the spec is the JSON that the plan prints (`kdpipe plan --json`).
"""
    yield from (line for word, one in known.items() if one.order >= 200 for line in _command(word))


def _command(word: str) -> Iterator[str]:
    command = main.load_commands()[word]
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    yield f"### kdpipe {word}\n"
    yield sentence(command.help) + "\n"
    rows = []
    for action in parser._actions:
        typed = action.metavar or (
            "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest
        )
        options = ", ".join(f"`{option}`" for option in action.option_strings)
        if action.option_strings and action.nargs != 0:
            long = action.option_strings[-1]
            value = typed if action.metavar or action.choices else typed.upper()
            options = options.replace(f"`{long}`", f"`{long} {value}`")
        need = "" if action.required else " (optional)" if not action.option_strings else ""
        rows.append((options or f"`{typed}`", cell(sentence(action.help or "")) + need))
    yield from table(("Argument", "Meaning"), rows) if rows else ("It takes no arguments.",)
    yield ""
