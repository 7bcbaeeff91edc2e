"""`kdpipe network STUDY`: one's own networks, built once; the plan then reads their cards alone."""

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="the study file that names them under `networks`")


def run(options) -> None:
    from kdpipe.networks.own import changes
    from kdpipe.study import checking
    from kdpipe.upkeep.comparing import taken_by

    study = checking.load(options.study, carded=False)
    own = changes.Own(
        options.study, study.networks, study.code, taken_by(study), study.device != "cpu"
    )
    print("\n".join(changes.make_cards(own)))


COMMAND = Command(
    order=90,
    help="build the networks of one's own and write their cards",
    arguments=arguments,
    run=run,
)
