"""What is asked of finished networks afterwards: probes of a transfer, and gauges.

A probe says how well their features serve another data set, a gauge what they come to as files that
ship.
"""

from collections.abc import Iterator

from kdpipe import identity
from kdpipe.data.cards import Card, card_of_keys
from kdpipe.plan.items import Cell, Gauge, GaugeRow, Plan, Probe, ProbeRow, Run
from kdpipe.results.readings import Reading
from kdpipe.specs import made
from kdpipe.study.blocks import Transfer


def add_probes(plan: Plan, label: str, transfer: Transfer) -> None:
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


def add_gauges(plan: Plan) -> None:
    """Plan a gauge of every last student, its scratch run and its teacher.

    Students are taken where the study reads them, teachers where they taught.
    """
    known: dict[tuple[str, int, Reading], Gauge] = {}
    for cell in plan.cells:
        if cell.last:
            for of, run, epoch in _asked(plan, cell):
                reading = "last" if of == "teacher" else plan.study.reading
                key = (run.name, epoch, reading)
                if key not in known:
                    known[key] = _gauge(plan, run, epoch, reading)
                plan.gauge_rows.append(GaugeRow(of, cell, known[key]))


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


def _gauge(plan: Plan, run: Run, epoch: int, reading: Reading) -> Gauge:
    spec = made.gauge_spec(run.spec, run.digest, epoch, reading)
    digest = identity.digest(spec)
    gauge = Gauge(made.gauge_name(spec, digest), digest, spec, run)
    return plan.gauges.setdefault(gauge.name, gauge)
