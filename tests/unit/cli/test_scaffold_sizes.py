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


def by_hand(found, step, cores):
    shape = (3, found.side, found.side)
    teacher, student = (step(n, shape, 6, found.batch) for n in (found.teacher, found.student))
    steps = found.epochs * math.ceil(found.train / found.batch)
    work = found.seeds * (steps * (teacher + 2 * student + teacher / 3) + 12)
    longest = math.ceil(found.seeds / cores) * (steps * (teacher + student + teacher / 3) + 8)
    return max(work / cores, longest)


@pytest.mark.parametrize("rate", [5e9, 2e10, 1e11, 1e13])
@pytest.mark.parametrize("cores", [1, 2, 16])
def test_the_price_is_what_is_counted_by_hand_and_fits(rate, cores):
    found = scaffold.fit_sizes(PHOTOS, 5, cores, machine(rate))
    assert found.seconds == pytest.approx(by_hand(found, machine(rate), cores))
    assert found.seconds <= 300 or found.epochs == scaffold._set_epochs(found, 600).epochs
    assert found.train + found.validation == 480 and found.validation == 72
    assert found.drop_epochs[-1] < found.epochs


def test_a_faster_machine_gets_more_and_more_minutes_too():
    def rank(found):
        pair = scaffold.NETWORK_PAIRS.index((found.teacher, found.student))
        return found.epochs, pair, found.side, found.seeds

    slow = rank(scaffold.fit_sizes(PHOTOS, 5, 2, machine(1e10)))
    fast = rank(scaffold.fit_sizes(PHOTOS, 5, 2, machine(1e13)))
    assert slow < fast and fast[1:] == (len(scaffold.NETWORK_PAIRS) - 1, 64, 5)
    longer = rank(scaffold.fit_sizes(PHOTOS, 60, 2, machine(1e10)))
    assert all(a <= b for a, b in zip(slow, longer, strict=True)) and slow < longer


def test_too_many_images_become_a_part_of_them():
    many = ImageCounts(train=50_000, validation=0, classes=10, channels=3, sides=(32,))
    found = scaffold.fit_sizes(many, 5, 2, machine(2e10))
    assert 500 <= found.train < 45_000 and found.validation == 5000
    assert found.seconds <= 300


def test_validation_of_its_own_is_kept_and_few_images_make_small_batches():
    found = scaffold.fit_sizes(ImageCounts(480, 60, 6, 3, (32,)), 5, 2, machine(1e10))
    assert (found.validation, found.train, found.batch) == (0, 480, 32)
