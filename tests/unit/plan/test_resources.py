"""What a job asks of a cluster grows with its price and stays within what the site gives."""

from pathlib import Path

import yaml
from helpers.job_specs import OTHER
from helpers.tiny_study import planned

from kdpipe.config import load
from kdpipe.plan import planner, resources
from kdpipe.plan.nodes import Plan, Run
from kdpipe.plan.resources import JobResources

ROOT = Path(__file__).parents[3]
HOUR, DAY = 60, 24 * 60


def one(network: str, **recipe) -> tuple[Plan, Run]:
    """The scratch run of a student on all of the digits."""
    plan = planned(main={"students": [network]}, recipe=recipe)
    return plan, plan.scratch[network, 0, 0]


def needs(network: str, device: str = "cpu", **recipe) -> JobResources:
    plan, run = one(network, **recipe)
    return resources.estimate_resources(run, plan.card, device)


def test_a_small_student_does_not_ask_for_a_night():
    recipe = {"epochs": 200, "batch_size": 64}
    assert resources.MIN_MINUTES <= needs("wrn16-1", **recipe).minutes < 2 * HOUR
    assert needs("wrn16-1", "cuda", **recipe).minutes < HOUR


def test_minutes_grow_with_the_price():
    small, large, longer = (
        needs(network, epochs=epochs).minutes
        for network, epochs in [("wrn16-1", 200), ("wrn28-10", 200), ("wrn28-10", 400)]
    )
    assert small < large < longer <= 2 * large


def test_threads_of_a_cpu_share_the_work():
    one_thread, four = (
        needs("wrn28-10", epochs=200, threads=threads).minutes for threads in (1, 4)
    )
    assert one_thread / 4 <= four < one_thread


def test_no_job_asks_for_more_than_the_site_gives():
    first = needs("wrn28-10", epochs=20_000)
    assert first.minutes > 3 * DAY
    assert first.with_attempt(1, DAY).minutes == DAY
    small = JobResources(600, 1000)
    assert [small.with_attempt(attempt, DAY).minutes for attempt in (1, 2, 3)] == [600, 1200, DAY]
    assert [small.with_attempt(attempt).minutes for attempt in (1, 2, 3)] == [600, 1200, 2400]
    assert [small.with_attempt(attempt, DAY).megabytes for attempt in (1, 2, 3)] == [
        1000,
        1500,
        2000,
    ]


def test_memory_is_more_than_an_empty_job_takes():
    for network in ("wrn10-0.5", "wrn28-10"):
        for device in ("cpu", "cuda"):
            assert needs(network, device).megabytes > resources.BASE_MEGABYTES[device]


def test_images_that_stream_take_time_and_no_memory():
    """Of ImageNet: 1.28 million images of 224 are 193 GB as an array."""
    study = load.load_study(ROOT / "studies" / "imagenet_paper.yaml")
    plan = planner.build_plan(study)
    run = plan.scratch["resnet18", 1, 0]
    actual = {
        each: resources.estimate_resources(run, plan.card, "cuda", each) for each in (0, 1, 4, 16)
    }
    minutes = [actual[each].minutes for each in (1, 4, 16)]
    assert minutes[0] > minutes[1] > minutes[2] > 2 * DAY
    memory = [actual[each].megabytes for each in (0, 16)]
    assert memory[0] + 16 * 200 < memory[1] < 64_000
    assert memory[0] > 2 * 1_281_167 * 1000 * 4 / 1e6  # its outputs on train, in two copies


def test_a_table_and_a_probe_ask_too():
    """What a table's file takes is held four times; a probe's classifiers take a CPU's time."""
    transfers = {"other": {"data": OTHER, "blocks": ["main"]}}
    plan = planned(teacher_outputs="table", data={"pad": 4}, transfers=transfers)
    (table,) = plan.logit_caches.values()
    requests = resources.estimate_resources(table, plan.card, "cpu")
    images = 3 * (plan.card.train + plan.card.test) * 40 * 40  # as wide as a view can be
    held = round(1.5 * (images + 4 * table.bytes) / 1e6)
    assert requests.megabytes == resources.BASE_MEGABYTES["cpu"] + held
    assert requests.minutes == resources.MIN_MINUTES
    (probe, *_) = plan.probes.values()
    assert resources.estimate_resources(probe, probe.card, "cuda").minutes >= resources.MIN_MINUTES


def test_the_conda_environment_agrees_with_the_lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {name.lower(): version for name, version in (line.split("==") for line in lines)}
    called = {"pytorch": "torch", "snakemake-minimal": "snakemake"}
    environment = yaml.safe_load((ROOT / "envs/kdpipe.yaml").read_text())
    pinned = [entry for entry in environment["dependencies"] if "=" in entry]
    assert len(pinned) >= 4
    for entry in pinned:
        name, version = entry.replace(" ", "").split("=", 1)
        if name != "python":
            assert locked[called.get(name, name).lower()] == version.lstrip("="), entry
