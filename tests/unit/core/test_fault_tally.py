"""The tests of faults are a sample, or all cases, which shards share among them."""

import json

import pytest
from helpers import fault_tally
from helpers.fault_tally import Tally, is_in_shard, read_shard

CASES = [("runs/x/record.json", damage, verb) for damage in range(40) for verb in range(10)]


class Session:
    """What a tally uses of pytest's configuration."""

    def __init__(self):
        self.pluginmanager, self.lines = self, []

    def getplugin(self, name):
        return self

    def global_and_fixture_disabled(self):
        return pytest.MonkeyPatch.context()

    def ensure_newline(self):
        pass

    def write_line(self, line):
        self.lines.append(line)


def test_every_case_is_in_one_shard():
    for seed in ("0", "1"):
        shards = [
            {case for case in CASES if is_in_shard(case, read_shard(f"{i}/5"), seed)}
            for i in range(1, 6)
        ]
        assert set.union(*shards) == set(CASES) and sum(map(len, shards)) == len(CASES)
        assert min(map(len, shards)) > 50
    assert [case for case in CASES if is_in_shard(case, (0, 5), "0")] != [
        case for case in CASES if is_in_shard(case, (0, 5), "1")
    ]


@pytest.mark.parametrize("text", ["0/5", "6/5", "5", "a/b", "1/0", "/"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(pytest.UsageError, match="KDPIPE_SHARD"):
        read_shard(text)


def test_the_shard_is_of_all_cases_and_the_sample_is_as_it_was(monkeypatch):
    tally = Tally("test_x", Session())
    assert tally.choose(CASES, 7, "a") == tally.choose(CASES, 7, "a") != tally.choose(CASES, 7, "b")
    assert len(tally.choose(CASES, 1000)) == len(CASES)
    monkeypatch.setattr(fault_tally, "FULL", True)
    assert tally.choose(CASES, 7) == CASES  # of one shard


def test_a_failure_is_printed_at_once_counted_and_raised_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("KDPIPE_TALLY", str(tmp_path / "tally.json"))
    session = Session()
    tally = Tally("test_x", session)
    tried = []
    for case in tally.choose(["a", "b", "c"], 3):
        with tally.trying(case):
            tried.append(case)
            assert case != "b", "lost"
        assert len(session.lines) == ("b" in tried)
    assert session.lines[0].startswith("FAULT test_x: b: lost")
    with pytest.raises(AssertionError, match="b: lost"):
        tally.check()
    content = json.loads((tmp_path / "tally.json").read_text("utf-8"))["test_x"]
    assert content["cases"] == content["tried"] == 3
    assert [line.split("\n")[0] for line in content["failures"]] == ["b: lost"]
