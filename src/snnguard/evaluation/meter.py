"""What a judgement costs: passes of single images through a model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snnguard.attacks import Model


@dataclass
class Cost:
    """`forwards` counts images put through a model, `backwards` those put through it with a graph, for their gradient."""

    forwards: int = 0
    backwards: int = 0

    def note(self, images: int) -> None:
        self.forwards += images
        self.backwards += images * torch.is_grad_enabled()


@contextmanager
def metered(*models: Model) -> Iterator[Cost]:
    """Counts what passes through `models` within the block; plain functions cannot be counted and add nothing."""
    cost = Cost()

    def count(_: nn.Module, args: tuple[Any, ...]) -> None:
        cost.note(len(args[0]))

    with ExitStack() as stack:
        for model in models:
            if isinstance(model, nn.Module):
                stack.callback(model.register_forward_pre_hook(count).remove)
        yield cost
