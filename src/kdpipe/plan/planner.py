"""The plan: every run, ensemble and probe that a study needs, with parents and prices.

A pure function of the study, and with the modules beside it the only place that knows which
experiments exist. Runs are found by the digest of their spec, so what two blocks share is planned
once; parents always come before their children. No torch, and no file but a card: prices are
computed from names and cards.
"""

from kdpipe.data.cards import card_of_keys
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.networks import catalogue
from kdpipe.networks.brought import taken
from kdpipe.networks.brought.fed import Seen
from kdpipe.plan import afterwards
from kdpipe.plan.experiments import Experiments
from kdpipe.plan.items import Plan
from kdpipe.plan.runs import Runs
from kdpipe.study import stops
from kdpipe.study.grammar import Study


def make(study: Study) -> Plan:
    """The plan of a study that `checking` has passed."""
    card = card_of_keys(study.data)
    own = unlabelled.of(study.data, study.splits) if unlabelled.is_own(study.data) else None
    plan = Plan(study, card, own)
    plan.data_sets[card.folder] = study.data
    if own is not None:
        plan.data_sets[own.folder] = study.data
    data = Seen(card.shape, card.classes, card.class_names)
    feeding = taken.feeding(study.pretrained, data)
    networks = catalogue.of(study.networks, study.code, data, feeding, study.named, study.starts)
    for split in study.splits:
        experiments = Experiments(plan, Runs(plan, networks, split))
        for block in study.experiments:
            experiments.add_block(block)
        for label in study.ensembles:
            experiments.add_ensemble(label)
    for network, texts in study.keep_checkpoints.items():
        _keep(plan, network, texts, study.recipe_of(network).epochs)
    for label, transfer in study.transfers.items():
        afterwards.add_probes(plan, label, transfer)
    if study.export:
        afterwards.add_gauges(plan)
    return plan


def _keep(plan: Plan, network: str, texts: list[str], epochs: int) -> None:
    """Keep the checkpoints that a study asks for of the full trainings of a network."""
    for run in plan.runs.values():
        if run.network == network and run.spec["teacher"] is None and run.epochs == epochs:
            for stop in stops.expand(texts, epochs):
                plan.keep_checkpoint(run, stop.epochs)
