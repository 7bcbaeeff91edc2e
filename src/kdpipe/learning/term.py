"""What a student is trained on: labels, a teacher's softened classes, a teacher's attention.

Plain functions of tensors, each averaged over the batch. They know no schedule: whoever calls them
decides when a term is on. Gradients never reach the teacher. Half precision is computed in float32.
"""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
