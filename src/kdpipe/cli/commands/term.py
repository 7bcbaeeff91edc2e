"""`kdpipe term STUDY`: one's own terms of the loss, tried once; the plan then reads their cards."""

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="the study file whose methods name them (`term`)")


def run(options) -> None:
    from kdpipe.learning.own import changes
    from kdpipe.study import checking

    study = checking.load(options.study, carded=False)
    own = changes.Own(options.study, study.methods, study.code, study.device != "cpu")
    print("\n".join(changes.make_cards(own)))


COMMAND = Command(
    order=92,
    help="try the terms of one's own and write their cards",
    arguments=arguments,
    run=run,
)
