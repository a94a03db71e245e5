"""Random points of the ball: the check that no smarter search was blind."""

from typing import Self, final

from pydantic import Field
from torch import Tensor

from snnguard import rng
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .model import Model
from .queries import Search


@final
class RandomSearch(Attack, kind="random-search"):
    """The best of `points` random points of the ball and the image itself, by `Aim.lead`.

    Every second point is uniform in the ball; the others lie at its edge: a corner in Linf, a uniform direction of length
    eps in L2. Where it finds what an attack with gradients does not, the gradients are masked. `early_stop` takes a sample
    out at its first success; with `draws` > 1 the model counts as random, leads are averaged and no sample leaves.
    SOURCE: Athalye 2018, section 3.1; they take 10^5 points and more.
    """

    points: int = Field(default=1000, ge=1)
    draws: int = Field(default=1, ge=1)
    early_stop: bool = True

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        search = Search(model, x, aim, draws=self.draws, early_stop=self.early_stop)
        search.offer(x)
        for point in range(self.points):
            if len(search.live) == 0:
                break
            at, own = x[search.live], rng.derive(seed, "point", point)
            edge = point % 2 == 1
            search.offer(on_edge(at, threat, own) if edge else threat.sample(at, own))
        return search.best

    @classmethod
    def example(cls) -> Self:
        return cls(points=50)


def on_edge(x: Tensor, threat: Threat, seed: int) -> Tensor:
    """A random point at distance eps, before the range cuts it: eps times the unit step along Gaussian noise."""
    return threat.project(x + threat.eps * threat.ascent(rng.normal(x, seed)), x)
