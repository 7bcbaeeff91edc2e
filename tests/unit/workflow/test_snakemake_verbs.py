"""Verbs of Snakemake that look at a finished study, and those that force jobs."""

from pathlib import Path

import pytest

from kdpipe.errors import KdpipeError
from kdpipe.workflow import snakemake_verbs


@pytest.mark.parametrize(
    ("line", "looks"),
    [
        ("--rulegraph", True),
        ("--report report.html", True),
        ("--report=report.html", True),
        ("-S", True),
        ("--cores 2", False),
        ("-n", False),
    ],
)
def test_what_only_looks(line, looks):
    assert snakemake_verbs.is_looking(["--cores", "1", *line.split()]) is looks


def test_whole_is_for_looking_alone():
    assert snakemake_verbs.parse_whole("true", True) and snakemake_verbs.parse_whole(None, True)
    assert not snakemake_verbs.parse_whole("false", True)  # what is left to do
    assert not snakemake_verbs.parse_whole(None, False)
    with pytest.raises(KdpipeError, match="for display only, and runs nothing: give one of --dag"):
        snakemake_verbs.parse_whole(True, False)
    with pytest.raises(KdpipeError, match="must be true or false"):
        snakemake_verbs.parse_whole("yes", True)


def test_forcing_is_answered_with_the_folder_to_remove():
    for line in (["--forcerun", "train"], ["-R", "train"], ["-F"], ["-nF"], ["--forceall"]):
        assert snakemake_verbs.list_forcing(["--cores", "2", *line]) == line[:1]
    assert snakemake_verbs.list_forcing(["--cores", "2", "-n", "--configfile", "F.yaml"]) == []
    text = snakemake_verbs.describe_forcing(["-F"], Path("results/runs/a b"))
    assert text.startswith("-F: a finished run is never run again")
    assert text.endswith("rm -r 'results/runs/a b'")
