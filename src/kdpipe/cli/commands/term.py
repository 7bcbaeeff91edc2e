"""`kdpipe term STUDY`: validate a study's custom loss terms and write their cards."""

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe term`."""
    parser.add_argument("study", help="a study file whose methods use custom terms (`term`)")
    help = "changed code computes the same everywhere: write its digest, if the trial agrees"
    parser.add_argument("--same", action="store_true", help=help)


def run(options) -> None:
    """Validate the custom loss terms of a study and write their cards."""
    from kdpipe.config import load
    from kdpipe.losses.custom import study_cards

    study = load.load_study(options.study, require_cards=False)
    custom_terms = study_cards.CustomTerms(
        options.study, study.methods, study.code, study.device != "cpu"
    )
    print("\n".join(study_cards.write_term_cards(custom_terms, options.same)))


COMMAND = Command(
    order=92,
    help="validate the custom loss terms of a study and write their cards",
    add_arguments=add_arguments,
    run=run,
)
