"""What an attack without gradients sees of a model: answers to images that it asks about, and the best one so far."""

from typing import NamedTuple

import torch
from torch import Tensor

from snnguard import rng

from .aim import Aim
from .model import Model, check_labels
from .pieces import Pieces

TOGETHER = 256
"""Images that may go through a model at once, where the attack was not called with more, nor told otherwise."""


class Answer(NamedTuple):
    """Per image, [n]: `Aim.lead` averaged over the draws, and whether most of them reached the aim."""

    lead: Tensor
    reached: Tensor


class Queries:
    """The door of one run over `size` samples: no gradients, and at most max(`size`, 256) images at once, or what the attack
    was told, or what memory allows."""

    def __init__(self, model: Model, size: int, *, draws: int) -> None:
        self.model, self.draws, self.checked = model, draws, False
        self.pieces = Pieces(max(size, TOGETHER))

    def __call__(self, x: Tensor, aim: Aim) -> Answer:
        """At the images `x` [n, *F], whose aims are `aim`."""

        def work(piece: slice) -> Answer:
            if piece == slice(0, len(x)):
                return self._ask(x, aim)
            return self._ask(x[piece], aim[torch.arange(len(x), device=x.device)[piece]])

        with torch.no_grad():
            parts = self.pieces(len(x), work)
        if len(parts) == 1:
            return parts[0]
        return Answer(torch.cat([part.lead for part in parts]), torch.cat([part.reached for part in parts]))

    def _ask(self, x: Tensor, aim: Aim) -> Answer:
        leads, votes = torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.zeros(len(x), device=x.device)
        for _ in range(self.draws):
            logits = self.model(x)
            if not self.checked:  # once: a look at the labels waits for the device
                check_labels(x, aim.leave, logits.shape[1])
            leads += aim.lead(logits.double())
            votes += aim.reached(logits)
        self.checked = True
        return Answer(leads / self.draws, 2 * votes > self.draws)


class Search:
    """The best point of each sample so far: one that reached the aim before one that did not, then by its lead.

    With several draws the model counts as random: a success is then none before the judge has seen it, and only the lead
    counts. With `early_stop` a sample leaves (`live`) at its first success.
    """

    def __init__(self, model: Model, x: Tensor, aim: Aim, *, draws: int, early_stop: bool) -> None:
        self.ask, self.aim, self.early_stop = Queries(model, len(x), draws=draws), aim, early_stop
        self.best, self.won = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.lead = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        self.live = torch.arange(len(x), device=x.device)

    def offer(self, points: Tensor) -> None:
        """Looks at one point for each sample that is live."""
        lead, won = self.ask(points, self.aim[self.live])
        won = won & (self.ask.draws == 1)
        better = preferred(won, lead, self.won[self.live], self.lead[self.live])
        rows = self.live[better]
        self.best[rows], self.lead[rows], self.won[rows] = points[better], lead[better], won[better]
        if self.early_stop:
            self.live = self.live[~won]


def preferred(won: Tensor, lead: Tensor, old_won: Tensor, old_lead: Tensor) -> Tensor:
    """Whether each sample's point is better than its old one."""
    return (won & ~old_won) | ((won == old_won) & (lead > old_lead))


class Throws:
    """`count` uniform numbers in [0, 1) per sample and query, from a generator of its own for each sample.

    Drawn for `CHUNK` queries at a time: the numbers of a sample depend neither on the others nor on who is still there.
    """

    CHUNK = 100

    def __init__(self, x: Tensor, seed: int, *, count: int) -> None:
        self.generators, self.thrown = rng.per_sample(x, seed), 0
        self.numbers = torch.zeros(len(x), self.CHUNK, count, dtype=torch.float64, device=x.device)

    def take(self, live: Tensor) -> Tensor:
        """The next numbers [n, count] of the samples that are live."""
        at = self.thrown % self.CHUNK
        if at == 0:
            shape = self.numbers.shape[1:]
            fresh = [torch.rand(shape, generator=self.generators[i], dtype=torch.float64) for i in live.tolist()]
            self.numbers[live] = torch.stack(fresh).to(self.numbers)
        self.thrown += 1
        return self.numbers[live, at]
