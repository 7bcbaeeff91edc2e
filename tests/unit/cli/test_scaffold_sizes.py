"""The sizes of a first study: the price by hand, within the minutes, more on a faster machine."""

import math

import pytest

from kdpipe.cli import scaffold
from kdpipe.cli.scaffold import ImageCounts

PHOTOS = ImageCounts(train=480, validation=0, classes=6, channels=3, sides=(32, 48, 64))


def machine(rate):
    """A step takes as long as its multiply-adds at a rate say."""
    from kdpipe.models import registry

    def step(network, shape, classes, batch):
        return 3 * batch * registry.compute_cost(network, shape, classes).multiply_adds / rate

    return step


def by_hand(actual, step, cores):
    shape = (3, actual.side, actual.side)
    teacher, student = (step(n, shape, 6, actual.batch) for n in (actual.teacher, actual.student))
    steps = actual.epochs * math.ceil(actual.train / actual.batch)
    work = actual.seeds * (steps * (teacher + 2 * student + teacher / 3) + 12)
    longest = math.ceil(actual.seeds / cores) * (steps * (teacher + student + teacher / 3) + 8)
    return max(work / cores, longest)


@pytest.mark.parametrize("rate", [5e9, 2e10, 1e11, 1e13])
@pytest.mark.parametrize("cores", [1, 2, 16])
def test_the_price_is_what_is_counted_by_hand_and_fits(rate, cores):
    actual = scaffold.fit_sizes(PHOTOS, 5, cores, machine(rate))
    assert actual.seconds == pytest.approx(by_hand(actual, machine(rate), cores))
    assert actual.seconds <= 300 or actual.epochs == scaffold._set_epochs(actual, 600).epochs
    assert actual.train + actual.validation == 480 and actual.validation == 72
    assert actual.drop_epochs[-1] < actual.epochs


def test_a_faster_machine_gets_more_and_more_minutes_too():
    def rank(actual):
        pair = scaffold.NETWORK_PAIRS.index((actual.teacher, actual.student))
        return actual.epochs, pair, actual.side, actual.seeds

    slow = rank(scaffold.fit_sizes(PHOTOS, 5, 2, machine(1e10)))
    fast = rank(scaffold.fit_sizes(PHOTOS, 5, 2, machine(1e13)))
    assert slow < fast and fast[1:] == (len(scaffold.NETWORK_PAIRS) - 1, 64, 5)
    longer = rank(scaffold.fit_sizes(PHOTOS, 60, 2, machine(1e10)))
    assert all(a <= b for a, b in zip(slow, longer, strict=True)) and slow < longer


def test_too_many_images_become_a_part_of_them():
    many = ImageCounts(train=50_000, validation=0, classes=10, channels=3, sides=(32,))
    actual = scaffold.fit_sizes(many, 5, 2, machine(2e10))
    assert 500 <= actual.train < 45_000 and actual.validation == 5000
    assert actual.seconds <= 300


def test_validation_of_its_own_is_kept_and_few_images_make_small_batches():
    actual = scaffold.fit_sizes(ImageCounts(480, 60, 6, 3, (32,)), 5, 2, machine(1e10))
    assert (actual.validation, actual.train, actual.batch) == (0, 480, 32)
