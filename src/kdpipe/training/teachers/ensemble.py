"""The average of an ensemble's members as one set of logits, which any loss can soften."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdpipe.losses.base import to_float32


def ensemble_logits(member_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the logits of an ensemble that averages its members' probabilities.

    softmax(result / T) is the mean of softmax(member / T). With T = 1, the default, the result is
    the logarithm of the mean probability, and the loss softens it afterwards. That is neither the
    mean of the members' logits nor, at T > 1, the mean of their softened probabilities.

    Parameters
    ----------
    member_logits : Tensor of shape (M, B, C)
    temperature : float
        T, at which the probabilities are averaged.

    Returns
    -------
    Tensor of shape (B, C)
    """
    log_p = F.log_softmax(to_float32(member_logits) / temperature, dim=-1)
    return temperature * (torch.logsumexp(log_p, dim=0) - math.log(len(log_p)))
