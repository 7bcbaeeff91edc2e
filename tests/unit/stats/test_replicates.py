"""Units: a seed in a split as one number, and which of them have nothing to do with each other."""

import itertools

import numpy as np
import pandas as pd
import pytest

from kdpipe.stats import replicates
from kdpipe.stats.intervals import select_options

LARGEST = 2**31 - 1, 2**20 - 1


@pytest.mark.parametrize(("seed", "split"), [(0, 0), (7, 0), (0, 3), LARGEST])
def test_a_unit_is_its_seed_in_split_0_and_always_tells_both(seed, split):
    unit = float(replicates.make_replicate_id(seed, split))
    assert (replicates.get_seeds([unit])[0], replicates.get_splits([unit])[0]) == (seed, split)
    assert split or unit == seed


def test_units_are_counted_in_words():
    assert replicates.describe_replicates([4, 5, 4]) == "2 seeds"
    assert (
        replicates.describe_replicates(
            itertools.starmap(replicates.make_replicate_id, [(4, 0), (4, 1), (5, 0)])
        )
        == "2 seeds x 2 splits"
    )


def test_only_what_shares_neither_seed_nor_split_is_apart():
    grid = [replicates.make_replicate_id(seed, split) for seed in (1, 2, 3) for split in (0, 5)]
    others = {
        grid[i]
        for i in np.flatnonzero(
            replicates.find_independent(replicates.make_replicate_id(1, 5), grid)
        )
    }
    assert others == {replicates.make_replicate_id(2, 0), replicates.make_replicate_id(3, 0)}
    assert replicates.find_independent(2, [1, 2, 3]).tolist() == [True, False, True]
    one_seed = [replicates.make_replicate_id(1, split) for split in (0, 5, 6)]
    assert replicates.find_independent(one_seed[1], one_seed).tolist() == [True, False, True]


def test_a_choice_does_not_see_the_tested_seed_or_split():
    """Option a looks best only in what shares a seed or a split with the tested unit."""
    grid = [replicates.make_replicate_id(seed, split) for seed in (1, 2, 3) for split in (0, 1)]
    tested = replicates.make_replicate_id(1, 0)
    low = [
        1.0 if (unit % replicates.SPLIT_STRIDE == 1) or unit < replicates.SPLIT_STRIDE else 9.0
        for unit in grid
    ]
    validation = pd.DataFrame({"a": low, "b": [5.0] * 6}, index=pd.Index(grid))
    choice = select_options(validation, validation + 0.5)
    chosen, errors = choice.chosen, choice.errors
    assert chosen[tested] == "b" and errors[tested] == 5.5
    assert (
        chosen[replicates.make_replicate_id(2, 1)] == "a"
    )  # its others, (1, 0) and (3, 0), are low
