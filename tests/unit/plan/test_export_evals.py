"""Which networks are measured as files, each once, and that asking for it renames no run."""

from dataclasses import replace

import pytest
from helpers.small_plans import block, make, sound, study

from kdpipe.jobs import validate
from kdpipe.plan import render, status
from kdpipe.plan.estimate import count_cores, count_threads
from kdpipe.plan.resources import estimate_resources as needs
from kdpipe.runs.store import Store

STOPS = ["full", "checkpoint 1"]


def test_the_ends_of_paths_their_scratch_runs_and_their_teachers():
    samples = sound(make(study(block(stops=STOPS, generations=2), export=True)))
    rows = [
        (row.role, row.cell, row.export_eval.run, row.export_eval.spec.epoch)
        for row in samples.export_eval_rows
    ]
    expected = []
    for cell in [cell for cell in samples.cells if cell.last]:
        expected += [("scratch", cell, samples.scratch["wrn10-0.5", 0, 0], 4)]
        expected += [("student", cell, cell.run, 4), ("teacher", cell, *cell.teacher.members[0])]
    assert rows == expected
    assert len(samples.gauges) == 1 + 2 + 2  # the scratch run is measured once


def test_asking_for_it_renames_no_run_and_without_it_there_is_none():
    with_it, without = (make(study(block(), export=each)) for each in (True, False))
    assert with_it.runs.keys() == without.runs.keys() and not without.gauges
    assert without.recorded_nodes["gauges"] == {}


@pytest.mark.parametrize("reading", ["last", "best"])
def test_students_are_measured_where_the_study_reads_them_and_teachers_where_they_taught(reading):
    result = make(study(block(stops=STOPS), export=True, reading=reading))
    message = {
        (row.role, row.export_eval.spec.epoch): row.export_eval.spec.reading
        for row in result.export_eval_rows
    }
    assert message == {
        **{("scratch", 4): reading, ("student", 4): reading},
        **{("teacher", 4): "last", ("teacher", 1): "last"},
    }


def test_an_ensemble_that_teaches_is_not_measured():
    ensembles = {"three": {"networks": ["wrn10-1"], "copies": 3}}
    result = make(study(block(teachers=["three"]), ensembles=ensembles, export=True))
    assert [row.role for row in result.export_eval_rows] == ["scratch", "student"]


def test_its_spec_is_taken_and_another_reading_is_refused():
    (gauge, *_) = make(study(block(), export=True)).gauges.values()
    validate.validate_spec(gauge.spec)
    assert gauge.name.startswith("wrn10-0.5-as-file-e4-s0-")
    other = replace(gauge.spec, reading="first")
    with pytest.raises(validate.KdpipeError, match="reading must be one of last, best"):
        validate.validate_spec(other)


def test_it_is_counted_priced_and_has_this_machine_to_itself(tmp_path):
    plan = make(study(block(), export=True))
    states = status.get_plan_status(plan, Store(tmp_path))
    assert "3 exported networks to measure, float32 and int8: 3 to do" in render.render_plan_text(
        plan, states
    )
    for gauge in plan.gauges.values():
        assert count_threads(gauge, plan) == count_cores()
        requests = needs(gauge, plan.card, "cpu")
        assert requests.minutes >= 10 and requests.megabytes > 1000
