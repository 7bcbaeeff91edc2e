"""`kdpipe term STUDY`: custom loss terms, tried once; the plan then reads only their cards."""

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe term`."""
    parser.add_argument("study", help="the study file whose methods name them (`term`)")


def run(options) -> None:
    """Try the custom loss terms of a study and write their cards."""
    from kdpipe.config import load
    from kdpipe.losses.custom import study_cards

    study = load.load_study(options.study, require_cards=False)
    custom_terms = study_cards.CustomTerms(
        options.study, study.methods, study.code, study.device != "cpu"
    )
    print("\n".join(study_cards.write_term_cards(custom_terms)))


COMMAND = Command(
    order=92,
    help="try the terms of one's own and write their cards",
    add_arguments=add_arguments,
    run=run,
)
