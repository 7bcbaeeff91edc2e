"""`kdpipe schema`: the grammar of a study file for an editor, which completes from it."""

import json

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    pass


def run(options) -> None:
    from kdpipe.study.grammar import Study

    print(json.dumps(Study.model_json_schema(), indent=1))


COMMAND = Command(
    order=100,
    help="print the JSON schema of a study file",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
