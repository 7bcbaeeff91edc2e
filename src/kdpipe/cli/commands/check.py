"""`kdpipe check STUDY`: every mistake of a study file in one answer, before anything runs."""

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file (YAML)")


def run(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking

    study = checking.load(options.study)
    made = planner.make(study)
    if study.networks:
        from kdpipe.data.cards import card_of_keys
        from kdpipe.networks.own import changes  # the one check that needs torch

        card = card_of_keys(study.data)
        own = changes.Own(options.study, study.networks, study.code, card.shape, card.classes)
        changes.compare(own)
    if any(method.term for method in study.methods.values()):
        from kdpipe.learning.own import changes as term_changes  # and the other

        term_changes.compare(term_changes.Own(options.study, study.methods, study.code))
    print(
        "\n".join(
            [f"{options.study}: no mistakes; {len(made.runs):,} runs", *checking.notes(study)]
        )
    )


COMMAND = Command(
    order=10,
    help="say every mistake of a study file, or that it has none",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
