"""`kdpipe run [STUDY] [OPTION...]`: a study from its first run to its report, by Snakemake.

Works from any folder; results, logs and reports lie in the one that it is typed in. Options are
Snakemake's own, and it says what is wrong with them.
"""

import os
import sys

from kdpipe.cli.command import Command

EXAMPLES = """a study file (without one: the digits study), then any options of Snakemake, as
--cores 2, -n, --profile profiles/slurm, --config device=cuda; --verbose shows its own account"""


def arguments(parser) -> None:
    parser.add_argument("typed", nargs="*", metavar="STUDY [OPTION...]", help=EXAMPLES)


def run(options) -> None:
    from kdpipe.workflow import before, home, start

    typed = list(options.typed)
    study = typed.pop(0) if typed and not typed[0].startswith("-") else None
    place = home.folder()
    before.checked(study or place / "config.yaml")
    line = start.command(place, study, typed)
    sys.stdout.flush()
    os.execv(line[0], line)  # so that there is one process to stop, as if snakemake was typed


COMMAND = Command(
    order=15,
    help="run a study: train, distil, score, report",
    arguments=arguments,
    run=run,
    passes_on=True,
)
