"""Measuring this machine: what is asked, how it is kept, and that it is near to what it times."""

import json
import time
from dataclasses import asdict

import pytest
from helpers import tiny_study

from kdpipe.errors import KdpipeError
from kdpipe.plan import estimate
from kdpipe.plan.estimate import CostModel
from kdpipe.workflow import machine_benchmark

FOUND = {"step": 1.0, "epoch": 2.0, "image": 3.0, "setup": 4.0, "start": 5.0, "megabytes": 6.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(estimate.CACHE_ENV, str(tmp_path / "cache"))


@pytest.fixture
def plan():
    return tiny_study.planned(seeds=[0, 1])


def test_each_network_is_measured_once_the_cheapest_first(plan):
    runs = machine_benchmark.find_unmeasured(plan, plan.runs, "cpu")
    assert [run.network for run in runs] == ["wrn10-0.5", "wrn10-1"]
    only = [name for name, run in plan.runs.items() if run.network == "wrn10-1"]
    assert [run.network for run in machine_benchmark.find_unmeasured(plan, only, "cpu")] == [
        "wrn10-1"
    ]
    assert machine_benchmark.format_announcement(runs).startswith(
        "benchmarking wrn10-0.5, wrn10-1 on this machine"
    )


def test_side_by_side_and_the_mean_of_them_is_kept(plan, monkeypatch):
    requests = []

    def answers(text, abreast, seconds, means):
        requests.append((json.loads(text), abreast, seconds))
        return [[FOUND, FOUND], [{**FOUND, "step": 3.0}, FOUND]]

    monkeypatch.setattr(machine_benchmark, "_run_benchmarks", answers)
    monkeypatch.setattr(estimate, "count_cores", lambda: 2)
    runs = machine_benchmark.find_unmeasured(plan, plan.runs, "cpu")
    machine_benchmark.measure_speeds(plan, runs, "cpu")
    assert machine_benchmark.find_unmeasured(plan, plan.runs, "cpu") == []
    actual = estimate.find_speeds(plan, "cpu")
    assert {actual[run.name].step for run in runs} == {1.0, 2.0}
    ((what, abreast, seconds),) = requests
    assert abreast == 2 and seconds <= machine_benchmark.TOTAL_SECONDS
    assert [one["spec"]["network"]["name"] for one in what] == ["wrn10-0.5", "wrn10-1"]


def test_after_a_minute_it_is_stopped_and_the_rest_is_reckoned(plan, tmp_path, monkeypatch, capsys):
    """By a program that answers once, then tears a line and hangs."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho '{json.dumps(FOUND)}'\nprintf '{{\"st'\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(machine_benchmark.sys, "executable", str(slow))
    monkeypatch.setattr(machine_benchmark, "TIMEOUT_SECONDS", 1.0)
    small, large = machine_benchmark.find_unmeasured(plan, plan.runs, "cpu")
    began = time.monotonic()
    machine_benchmark.measure_speeds(plan, [small, large], "cpu")
    assert time.monotonic() - began < 20
    times = large.cost.multiply_adds / small.cost.multiply_adds
    actual = estimate.find_speeds(plan, "cpu")
    load = actual[small.name].load
    assert load >= 0 and actual[small.name] == estimate.Speed(**FOUND, load=load)
    expected = {**FOUND, "step": pytest.approx(times), "image": pytest.approx(3 * times)}
    expected |= {"bfloat16_image": 0.0, "load": load}  # bfloat16 was not asked for
    assert asdict(actual[large.name]) == expected
    message = "there was no time for wrn10-1: extrapolated from wrn10-0.5 by multiply-adds"
    assert message in capsys.readouterr().err
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(machine_benchmark, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(KdpipeError, match="took more than a minute: there is no time estimate yet"):
        machine_benchmark.measure_speeds(plan, [small], "cpu")


def test_no_more_processes_measure_than_jobs_can_run(monkeypatch):
    """On many cores a study of four runs asks for no more than it can use."""
    requests = []

    def answers(text, abreast, seconds, means):
        requests.append(abreast)
        return [[FOUND]] * abreast

    monkeypatch.setattr(machine_benchmark, "_run_benchmarks", answers)
    monkeypatch.setattr(estimate, "count_cores", lambda: 64)
    small = tiny_study.planned()
    machine_benchmark.measure_speeds(
        small, machine_benchmark.find_unmeasured(small, small.runs, "cpu"), "cpu"
    )
    assert 1 <= requests[0] <= len(small.runs)


def test_a_machine_that_cannot_be_measured_is_one_message(plan, monkeypatch):
    monkeypatch.setattr(machine_benchmark.sys, "executable", "/bin/false")
    with pytest.raises(KdpipeError, match="the benchmark of this machine failed"):
        machine_benchmark.measure_speeds(
            plan, machine_benchmark.find_unmeasured(plan, plan.runs, "cpu"), "cpu"
        )


def test_what_is_measured_is_near_to_what_a_run_takes(store, monkeypatch):
    """The real measurement and a real run, each by its own work: within a factor of 4."""
    from kdpipe.jobs.train import train_run
    from kdpipe.training import benchmark

    plan = tiny_study.planned(recipe={"epochs": 12})
    run = plan.scratch["wrn10-0.5", 0, 0]
    actual = benchmark.benchmark_training(run.spec, plan.card.shape, run.cost.multiply_adds, 0.6)
    price = CostModel(plan, {run.name: estimate.Speed(start=0.0, **actual)}, start=0.0)
    began = time.process_time()  # the price leaves out what else a machine does, too
    train_run(run.spec, [], store)
    took = time.process_time() - began
    assert price.estimate_seconds(run) / 4 < took < 4 * price.estimate_seconds(run)
    assert min(actual.values()) >= 0 and actual["step"] > 0 and actual["image"] > 0


def test_what_was_measured_under_load_is_measured_again_once_the_machine_is_idle(
    plan, monkeypatch, capsys
):
    monkeypatch.setattr(machine_benchmark, "_run_benchmarks", lambda *_: [[FOUND, FOUND]])
    loads = [1.0, 0.5, 0.0, 0.75]
    monkeypatch.setattr(machine_benchmark.LoadMeter, "measure", lambda meter, cores: loads.pop(0))
    monkeypatch.setattr(estimate, "count_cores", lambda: 1)
    runs = machine_benchmark.find_unmeasured(plan, plan.runs, "cpu")

    def measure(step: float) -> set[float]:
        monkeypatch.setitem(FOUND, "step", step)
        machine_benchmark.measure_speeds(plan, runs, "cpu")
        return {speed.step for speed in estimate.find_speeds(plan, "cpu").values()}

    assert measure(9.0) == {9.0} and "took 1.0 cores from" in capsys.readouterr().err
    monkeypatch.setattr(machine_benchmark, "_has_idle_cores", lambda: False)
    assert machine_benchmark.find_unmeasured(plan, plan.runs, "cpu") == []
    monkeypatch.setattr(machine_benchmark, "_has_idle_cores", lambda: True)
    assert machine_benchmark.find_unmeasured(plan, plan.runs, "cpu") == runs
    assert measure(5.0) == {5.0}  # still loaded, but less
    capsys.readouterr()
    assert measure(1.0) == {1.0} and not capsys.readouterr().err
    assert machine_benchmark.find_unmeasured(plan, plan.runs, "cpu") == []
    assert measure(7.0) == {1.0}  # a better measurement stays


def test_the_load_is_what_other_processes_take_of_the_cores_that_were_wanted(monkeypatch):
    """By hand: two of four cores are wanted; in 10 s others have had 30 core-seconds of 40."""
    readings = iter([(0.0, 100.0, 7.0), (10.0, 140.0, 17.0)])
    monkeypatch.setattr(machine_benchmark.LoadMeter, "_read", lambda meter: next(readings))
    monkeypatch.setattr(machine_benchmark.psutil, "cpu_count", lambda: 4)
    assert machine_benchmark.LoadMeter().measure(2) == 1.0
