"""Probes of a transfer: how well the features of finished networks serve another data set."""

from collections.abc import Iterator

from kdpipe import identity
from kdpipe.data.cards import Card, card_of_keys
from kdpipe.plan.items import Cell, Plan, Probe, ProbeRow, Run
from kdpipe.specs import made
from kdpipe.study.grammar import Transfer


def add(plan: Plan, label: str, transfer: Transfer) -> None:
    """Plan the probes of a transfer, for the cells that the plan has."""
    card = card_of_keys(transfer.data)
    data = made.data_spec(transfer.data, card)
    plan.data_sets.setdefault(card.folder, transfer.data)
    probes: dict[tuple[str, int], Probe] = {}
    for cell in plan.cells:
        if cell.block in transfer.blocks and cell.last:
            for of, run, epoch in _asked(plan, cell):
                if (probe := probes.get((run.name, epoch))) is None:
                    probe = probes[run.name, epoch] = _probe(plan, run, epoch, data, card)
                plan.probe_rows.append(ProbeRow(label, of, cell, probe))


def _asked(plan: Plan, cell: Cell) -> Iterator[tuple[str, Run, int]]:
    """The network at the end of a path, its scratch run, and its teacher.

    An ensemble that teaches has no features of its own.
    """
    scratch = plan.scratch_of(cell)
    yield "scratch", scratch, scratch.epochs
    yield "student", cell.run, cell.run.epochs
    if cell.teacher.ensemble is None:
        yield "teacher", *cell.teacher.members[0]


def _probe(plan: Plan, run: Run, epoch: int, data: dict, card: Card) -> Probe:
    spec = made.probe_spec(run.spec, run.digest, epoch, data)
    digest = identity.digest(spec)
    name = made.probe_name(spec, digest)
    images = data["train_size"] + data["validation"] + card.test
    probe = Probe(name, digest, spec, run, card, images * run.cost.multiply_adds)
    return plan.probes.setdefault(name, probe)
