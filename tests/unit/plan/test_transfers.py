"""Which networks a transfer probes, each (run, epoch) once."""

from helpers.job_specs import OTHER
from helpers.small_plans import block, make, sound, study


def transferred(*blocks, of=("main",), **keys):
    """A study of the digits, with MNIST as the other data: its card is enough."""
    transfers = {"other": {"data": OTHER, "blocks": list(of)}}
    return make(study(*blocks, transfers=transfers, **keys))


def test_the_ends_of_paths_their_scratch_runs_and_their_teachers():
    samples = sound(transferred(block(stops=["full", "checkpoint 1"], generations=2)))
    last = [cell for cell in samples.cells if cell.last]
    rows = [(row.role, row.cell, row.probe.run, row.probe.spec.epoch) for row in samples.probe_rows]
    expected = []
    for cell in last:
        scratch, (teacher, epoch) = samples.scratch["wrn10-0.5", 0, 0], cell.teacher.members[0]
        expected += [("scratch", cell, scratch, 4), ("student", cell, cell.run, 4)]
        expected += [("teacher", cell, teacher, epoch)]
    assert rows == expected and len(last) == 2
    assert len(samples.probes) == 1 + 2 + 2  # the scratch run is asked once


def test_a_probe_is_priced_by_its_images_and_names_its_run():
    plan = transferred(block())
    for name, probe in plan.probes.items():
        assert probe.parents == (probe.run,) and probe.spec.run == probe.run.digest
        assert probe.multiply_adds == (80 + 30 + 10_000) * probe.run.cost.multiply_adds
        assert name.startswith(f"{probe.run.network}-on-mnist-s0-")


def test_an_ensemble_that_teaches_is_not_probed():
    ensembles = {"three": {"networks": ["wrn10-1"], "copies": 3}}
    plan = transferred(block(teachers=["three"]), ensembles=ensembles)
    assert [row.role for row in plan.probe_rows] == ["scratch", "student"]


def test_blocks_that_are_not_named_are_not_probed():
    plan = transferred(block(), block("b", students=["wrn10-1"]), of=["b"])
    assert {row.cell.block for row in plan.probe_rows} == {"b"}
