"""Forwards that a device has no memory for, on one that only says so."""

import numpy as np
import pytest
import torch

from kdpipe.data.batches import ImageBatches, choose_eval_batch_size, limit_batch_size
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices.cuda_errors import retry_halving_batch
from kdpipe.training.teachers import online
from kdpipe.training.teachers.online import OnlineTeacher

PIXELS = np.random.RandomState(0).randint(0, 256, (40, 1, 8, 8), np.uint8)


class Tight(torch.nn.Module):
    """A network that has room for so many images at a time."""

    def __init__(self, room: int, words: str = "CUDA out of memory. Tried to allocate 2 GiB"):
        super().__init__()
        self.room, self.words, self.seen = room, words, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise RuntimeError(f"{self.words}\nmore of it")
        return x.flatten(1)[:, :3]


def images(size: int = 16) -> ImageBatches:
    actual = ImageBatches(PIXELS, IDENTITY_VIEWS, np.zeros(1), np.ones(1))
    actual.eval_batch_size = size
    return actual


def requests(model, of):
    return retry_halving_batch(
        of, lambda size: torch.cat([model(x) for x in of.unaugmented_batches(size)])
    )


def test_of_a_network_that_scales_them_half_as_many_too():
    """It is shown so many of the size that it wants, whatever the study's images are."""
    of = images(256)
    of.max_eval_batch_size = 256
    assert limit_batch_size(of)(224, 224, torch.device("meta")) == 83
    of.eval_batch_size = 128
    assert limit_batch_size(of)(224, 224, torch.device("meta")) == 41


def test_a_teacher_shows_such_a_network_half_as_many_after_the_first_time(monkeypatch):
    requests, of = [], images(32)
    of.max_eval_batch_size = 32

    def no_room_at_first(model, x, at_once):
        requests.append(at_once(224, 224, torch.device("meta")))
        if len(requests) == 1:
            raise RuntimeError("CUDA out of memory")
        return x.flatten(1)[:, :3]

    monkeypatch.setattr(online, "forward_in_chunks", no_room_at_first)
    OnlineTeacher([(torch.contiguous_format, torch.nn.Identity())]).predict_split("test", of)
    assert requests == [83, 41, 41, 41]


def test_half_as_many_are_asked_once_more_and_it_is_said(capsys):
    tight, of = Tight(8), images()
    assert torch.equal(requests(tight, of), requests(Tight(99), images()))
    assert tight.seen == [16, 8, 8, 8, 8, 8] and of.eval_batch_size == 8
    message = capsys.readouterr().out
    assert message == (
        "out of memory with batches of 16 images (CUDA out of memory. Tried to allocate 2 GiB): "
        "using 8 from here on\n"
    )
    requests(tight, of)  # it is known from then on
    assert capsys.readouterr().out == ""


def test_a_second_time_is_an_error_and_so_is_what_is_none_of_memory():
    tight = Tight(4)
    with pytest.raises(RuntimeError, match="out of memory"):
        requests(tight, images())
    assert tight.seen == [16, 8]
    other = Tight(4, "device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side"):
        requests(other, images())
    assert other.seen == [16]
    with pytest.raises(RuntimeError):
        requests(Tight(0), images(1))


def test_a_live_teacher_goes_on_with_half(capsys):
    of = images()
    teacher = OnlineTeacher([(torch.contiguous_format, Tight(8))])
    whole = OnlineTeacher([(torch.contiguous_format, Tight(99))])
    assert np.array_equal(teacher.predict_split("val", of), whole.predict_split("val", images()))
    assert "8 from here on" in capsys.readouterr().out


def test_how_many_are_asked_of_a_gpu_by_their_bytes():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    sides = (8, 32, 128, 224, 384, 2048)
    assert [choose_eval_batch_size(side, side, cuda) for side in sides] == [
        256,
        256,
        256,
        83,
        28,
        16,
    ]
    assert [choose_eval_batch_size(side, side, cpu) for side in (8, 32, 224)] == [256, 32, 32]
