"""`kdpipe schema`: print the JSON schema of study files, for completion in editors."""

import json

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add nothing: `kdpipe schema` has no arguments."""


def run(options) -> None:
    """Print the JSON schema of a study file."""
    from kdpipe.config.schema import build_json_schema

    print(json.dumps(build_json_schema(), indent=1))


COMMAND = Command(
    order=100,
    help="print the JSON schema of study files",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)
