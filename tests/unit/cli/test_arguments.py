"""Arguments that several commands share."""

import argparse
from pathlib import Path

import pytest

from kdpipe import hashing
from kdpipe.cli import command
from kdpipe.errors import KdpipeError
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions


def parsed(add, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def test_results_need_not_be_there_yet(tmp_path):
    assert parsed(command.add_results).results == Path("results")
    options = parsed(command.add_results, "--results", str(tmp_path / "new" / "results"))
    assert command.open_store(options).root == tmp_path / "new" / "results"
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_results_is_refused(tmp_path):
    (tmp_path / "file").touch()
    options = parsed(command.add_results, "--results", str(tmp_path / "file" / "results"))
    with pytest.raises(KdpipeError, match=r"file is a file; give the folder that has runs/ in it"):
        command.open_store(options)


def test_means_are_what_the_words_say():
    assert command.parse_execution_options(parsed(command.add_execution_options)) == CPU_OPTIONS
    report = ExecutionOptions(
        device="cuda", runs_per_gpu=2, kernels="any", code=Path("code"), workers=3, processes=2
    )
    assert (
        command.parse_execution_options(
            parsed(command.add_execution_options, *report.to_arguments())
        )
        == report
    )


@pytest.mark.parametrize(
    "word", ["--runs-per-gpu=0", "--processes=0", "--workers=-1", "--workers=x", "--device=tpu"]
)
def test_means_that_cannot_be_are_refused(word, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(command.add_execution_options, word)
    assert word.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--spec is not JSON"),
        ('{"lr": NaN}', "NaN is not a number"),
        ("[1]", "--spec is not a JSON object"),
        ("[" * 100_000, "--spec is not JSON"),
    ],
)
def test_a_spec_that_is_no_object_is_refused(text, message):
    with pytest.raises(KdpipeError, match=message):
        command.parse_spec("run", text)


def test_a_spec_is_its_object():
    text = (
        '{"evaluation":1,"kind":"ensemble","members":[{"epoch":2,"run":"d"}],"revision":1,"seed":0}'
    )
    assert hashing.canonical_json(command.parse_spec("ensemble", text)) == text
