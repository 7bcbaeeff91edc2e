"""Mixed views against torchvision, one by one; what they depend on, and what not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import slow_mixtures
from scipy import stats

from kdpipe.data.batches import ImageBatches
from kdpipe.data.mixtures import draw_mixtures
from kdpipe.data.views import Views

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 6), np.uint8)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])
SPEC = {"pad": 1, "padding": "zero", "flip": True, "drawn": 4, "drawn_seed": 2**62 + 5}
BOTH = {"mixup": 0.2, "cutmix": 1.0, "mixed_revision": 1}


def batches_of(pixels=PIXELS, **mixed) -> ImageBatches:
    views = Views.from_spec(SPEC | {"mixed": mixed})
    return ImageBatches(pixels, views, [0.5, 0.4, 0.3], [0.2, 0.2, 0.2])


@pytest.mark.parametrize("mixed", [{"mixup": 0.2}, {"cutmix": 1.0}, BOTH])
def test_each_view_is_mixed_as_torchvision_does_it(mixed):
    images = batches_of(**mixed)
    plain = ImageBatches(PIXELS, replace(images.views, mixes=()), [0.5, 0.4, 0.3], [0.2] * 3)
    index, view = torch.arange(7).repeat(4), torch.arange(4).repeat_interleave(7)
    x, mixtures = images.batch(index, view), draw_mixtures(images, index, view)
    shares = mixtures.mix_labels(LABELS[index], LABELS[mixtures.index], 4)
    kinds = set()
    for row, (one, number) in enumerate(zip(index.tolist(), view.tolist(), strict=True)):
        mixture = slow_mixtures.draw(images.views, one, number, 7, 8, 6)
        kinds.add(mixture.kind)
        pair = torch.tensor([mixture.partner, one])
        pixels = plain.batch(pair, torch.tensor([mixture.view, number]))
        expected = slow_mixtures.mix(mixture, pixels, LABELS[pair], 4)
        torch.testing.assert_close(x[row], expected[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(shares[row], expected[1], rtol=0, atol=1e-6)
    assert kinds == mixed.keys() - {"mixed_revision"}


def test_partners_kinds_and_shares_have_their_distributions():
    index, view = torch.arange(500).repeat(4), torch.arange(4).repeat_interleave(500)

    def draw(**mixed):
        images = batches_of(np.zeros((500, 1, 32, 32), np.uint8), **mixed)
        return draw_mixtures(images, index, view)

    both, mixup, cutmix = draw(**BOTH), draw(mixup=0.2), draw(cutmix=1.0)
    assert not bool((both.index == index).any())
    counts = torch.bincount((both.index - index) % 500)[1:].numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.chisquare(torch.bincount(both.view).numpy()).pvalue > 1e-3
    assert stats.kstest(mixup.share, stats.beta(0.2, 0.2).cdf).pvalue > 1e-3
    assert torch.equal(mixup.share, mixup.opacity) and not bool(mixup.rectangle.any())
    by_mixup = both.share == mixup.share
    assert torch.equal(both.share[~by_mixup], cutmix.share[~by_mixup])
    assert abs(int(by_mixup.sum()) - 1000) < 4 * np.sqrt(500)
    # Rectangles are of the sizes that torchvision draws, less what is cut off at the edges.
    torch.manual_seed(0)
    torchvisions, blank = slow_mixtures.v2.CutMix(num_classes=2), [torch.zeros(2, 1, 32, 32)]
    reference = [torchvisions.make_params(blank)["lam_adjusted"] for _ in range(2000)]
    assert stats.ks_2samp(cutmix.share, reference).pvalue > 1e-3


def test_a_mixture_depends_on_its_image_and_view_alone():
    images = batches_of(**BOTH)
    index, view = torch.arange(7).repeat(4), torch.arange(4).repeat_interleave(7)
    reference = images.batch(index, view)
    shuffled = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    order, number = index[shuffled], view[shuffled]
    for size in (1, 5, 28):
        for start in (0, 1):  # whole, and resumed after the first batch
            batches = list(images.batches(order, number, size, start))
            rows = shuffled[size * start :]
            for part, whole in enumerate((index, view, reference)):
                seen = torch.cat([whole[:0], *(batch[part] for batch in batches)])
                assert torch.equal(seen, whole[rows])
    other_seed = ImageBatches(PIXELS, replace(images.views, drawn_seed=1), [0.5] * 3, [0.2] * 3)
    drawn, other = draw_mixtures(images, index, view), draw_mixtures(other_seed, index, view)
    assert float((drawn.index == other.index).float().mean()) < 0.5
    # The same partners, rectangles of other sizes.
    other = draw_mixtures(batches_of(mixup=0.2, cutmix=0.5), index, view)
    assert torch.equal(drawn.index, other.index) and torch.equal(drawn.view, other.view)
    assert not torch.equal(drawn.rectangle, other.rectangle)


def test_a_single_image_is_its_own_partner_and_unmixed_views_have_none():
    images = batches_of(PIXELS[:1], **BOTH)
    zeros, view = torch.zeros(4, dtype=torch.int64), torch.arange(4)
    assert torch.equal(draw_mixtures(images, zeros, view).index, zeros)
    assert draw_mixtures(batches_of(), zeros, view) is None
    plain = list(images.unaugmented_batches(4))
    torch.testing.assert_close(plain[0], batches_of(PIXELS[:1]).unaugmented_batch(0, 1))
