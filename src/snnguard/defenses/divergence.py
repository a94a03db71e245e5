"""The distance between two predictions that several defenses weigh."""

import torch
from torch import Tensor
from torch.nn import functional


def divergence(of: Tensor, from_: Tensor) -> Tensor:
    """KL(softmax(of) || softmax(from_)) per sample, [N], from logits [N, K]; finite for finite logits."""
    p, q = (functional.log_softmax(z, 1, dtype=torch.promote_types(z.dtype, torch.float32)) for z in (of, from_))
    return functional.kl_div(q, p, reduction="none", log_target=True).sum(1)
