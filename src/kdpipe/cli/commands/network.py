"""`kdpipe network STUDY`: one's own networks, built once; the plan then reads their cards alone."""

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="the study file that names them under `networks`")


def run(options) -> None:
    from kdpipe.data.cards import card_of_keys
    from kdpipe.networks.own import changes
    from kdpipe.study import checking

    study = checking.load(options.study, carded=False)
    card = card_of_keys(study.data)
    own = changes.Own(options.study, study.networks, study.code, card.shape, card.classes)
    print("\n".join(changes.make_cards(own)))


COMMAND = Command(
    order=90,
    help="build the networks of one's own and write their cards",
    arguments=arguments,
    run=run,
)
