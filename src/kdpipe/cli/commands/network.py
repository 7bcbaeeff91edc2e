"""`kdpipe network STUDY`: build a study's custom networks and write their cards."""

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe network`."""
    parser.add_argument("study", help="a study file with custom networks under `networks`")
    help = "changed code computes the same everywhere: write its digest, if the trial agrees"
    parser.add_argument("--same", action="store_true", help=help)


def run(options) -> None:
    """Build the custom networks of a study and write their cards."""
    from kdpipe.config import load
    from kdpipe.models.custom import study_cards
    from kdpipe.runs.integrity.data_drift import resolve_custom_inputs

    study = load.load_study(options.study, require_cards=False)
    custom_models = study_cards.CustomModels(
        options.study,
        study.networks,
        study.code,
        resolve_custom_inputs(study),
        study.device != "cpu",
    )
    print("\n".join(study_cards.write_cards(custom_models, options.same)))


COMMAND = Command(
    order=90,
    help="validate the custom networks of a study and write their cards",
    add_arguments=add_arguments,
    run=run,
)
