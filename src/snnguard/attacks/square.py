"""Square Attack: random search with squares, which needs the scores of a model alone."""

import math
from collections.abc import Callable
from typing import NamedTuple, Self, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from snnguard import rng
from snnguard.errors import InvalidInput
from snnguard.threat import L2, Linf, Threat

from .aim import Aim
from .attack import Attack
from .model import Model
from .queries import Search, Throws, preferred

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the share of a square is halved."""


class Moves(NamedTuple):
    """How the search starts, how large a square is, what is done with it, and how many random numbers beside C that takes."""

    start: Callable[[Tensor, Threat, int], Tensor]
    side: Callable[[float, Tensor], int]
    change: Callable[[Tensor, Tensor, Threat, int, Tensor], Tensor]
    numbers: int


@final
class Square(Attack, kind="square"):
    """x' <- x' with one square changed, kept if that raises `Aim.lead` or wins the sample; `queries` times.

    A square covers `share` of the image at first and less later (`share_at`). In Linf it gets one colour, +-eps per channel,
    and the search starts from vertical stripes of +-eps; in L2 it gets the pull of all that is left of the radius, and of
    what it and a second square held before, in the shape of two opposite bumps, and the search starts from a grid of such
    bumps. Images [N, C, H, W] only. All samples ask at once, each with random numbers of its own.

    `early_stop` takes a sample out at its first success. With `draws` > 1 the model counts as random: leads are averaged
    over the draws and no sample leaves. `restarts` are runs of `queries` each; a later one sees what the earlier ones left.
    SOURCE: Andriushchenko 2020, algorithms 1 to 3 and equation 2; share 0.8 and 5000 queries as in Croce & Hein 2020.
    DEVIATION: towards an exact class the lead is the loss too (the paper's is the cross-entropy). Squares may touch the last
    row and column, as in the paper, not in its code. Where a colour would change nothing, one channel is flipped instead of
    drawing all again.
    """

    queries: int = Field(default=5000, ge=1)
    share: float = Field(default=0.8, gt=0, le=1)
    restarts: int = Field(default=1, ge=1)
    draws: int = Field(default=1, ge=1)
    early_stop: bool = True

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        if x.ndim != 4:
            raise InvalidInput(
                f"Square changes squares of images [N, C, H, W], found {tuple(x.shape)}; take spsa or random-search, "
                "which know no shape"
            )
        if not isinstance(threat, Linf | L2):
            raise InvalidInput(f"Square knows the threats linf and l2, not {threat.kind}; take random-search or one of those")
        found, won = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        lead = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        for restart in range(self.restarts):
            left = torch.arange(len(x), device=x.device)[~(won & self.early_stop)]
            if len(left) == 0:
                break
            search = self._search(model, x[left], aim[left], threat, rng.derive(seed, "restart", restart))
            better = preferred(search.won, search.lead, won[left], lead[left])
            rows = left[better]
            found[rows], lead[rows], won[rows] = search.best[better], search.lead[better], search.won[better]
        return found

    def _search(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Search:
        start, side, change, count = LINF if isinstance(threat, Linf) else LENGTHWISE
        search = Search(model, x, aim, draws=self.draws, early_stop=self.early_stop)
        search.offer(start(x, threat, seed))
        throws = Throws(x, rng.derive(seed, "squares"), count=count + x.shape[1])
        for query in range(1, self.queries):
            live = search.live
            if len(live) == 0:
                break
            size = side(share_at(query, queries=self.queries, share=self.share), x)
            search.offer(change(search.best[live], x[live], threat, size, throws.take(live)))
        return search

    @classmethod
    def example(cls) -> Self:
        return cls(queries=100)


def share_at(query: int, *, queries: int, share: float) -> float:
    """The share of the image that a square covers at a query: `share`, halved at `HALVINGS` of 10,000, scaled to `queries`."""
    return share * 0.5 ** sum(query * 10_000 // queries > mark for mark in HALVINGS)


def side_linf(share: float, x: Tensor) -> int:
    """round(sqrt(share H W)), at least 1, and short of the whole image."""
    height, width = x.shape[2:]
    return max(1, min(round(math.sqrt(share * height * width)), height - 1, width - 1))


def side_l2(share: float, x: Tensor) -> int:
    """round(sqrt(share H W)), at least 3 and odd, so that a bump has a middle; within the image."""
    height, width = x.shape[2:]
    return min(max(3, round(math.sqrt(share * height * width))) | 1, height, width)


def stripes(x: Tensor, threat: Threat, seed: int) -> Tensor:
    """+-eps per column and channel."""
    return threat.project(x + threat.eps * _signs(rng.uniform(x, rng.derive(seed, "stripes"))[:, :, :1]), x)


def repaint(best: Tensor, x: Tensor, threat: Threat, side: int, numbers: Tensor) -> Tensor:
    """`best` with a square of one colour x +- eps. `numbers` [n, 3 + C]: row, column, channel to flip, sign per channel."""
    channels = x.shape[1]
    into = _pixels(numbers[:, :2], side, x)
    old, clean = best.flatten(2).gather(2, into), x.flatten(2).gather(2, into)
    low, high = threat.project(clean - threat.eps, clean), threat.project(clean + threat.eps, clean)
    light = numbers[:, 3:] >= 0.5
    idle = (torch.where(light[:, :, None], high, low) == old).flatten(1).all(1)
    light = light ^ (functional.one_hot(_whole(numbers[:, 2], channels), channels).bool() & idle[:, None])
    return best.flatten(2).scatter(2, into, torch.where(light[:, :, None], high, low)).reshape(x.shape)


def bumps(x: Tensor, threat: Threat, seed: int) -> Tensor:
    """A perturbation of length eps made of tiles, each a window, lying or standing, of random sign per channel.

    In square images of a side that 5 divides the tiles are the paper's 5 x 5; else as many of that size as there is room for.
    """
    height, width = x.shape[2:]
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    signs = _signs(rng.uniform(x, rng.derive(seed, "signs"))[:, :, :down, :across])
    lies = rng.uniform(x, rng.derive(seed, "lies"))[:, :1, :down, :across] < 0.5
    shape = window(side).to(x)
    tiles = _wide(signs, side) * torch.where(_wide(lies, side), shape.repeat(down, across), shape.T.repeat(down, across))
    above, before = (height - down * side) // 2, (width - across * side) // 2
    grid = torch.zeros_like(x)
    grid[:, :, above : above + down * side, before : before + across * side] = tiles
    return threat.project(x + threat.eps * threat.ascent(grid), x)


def pull(best: Tensor, x: Tensor, threat: Threat, side: int, numbers: Tensor) -> Tensor:
    """`best` with the perturbation of two squares, and the radius that is left, drawn together in the first of them.

    `numbers` [n, 5 + C]: row and column of either square, whether the window lies or stands, sign per channel.
    """
    change = (best - x).flatten(2)
    into, out_of = _pixels(numbers[:, :2], side, x), _pixels(numbers[:, 2:4], side, x)
    rest = change.scatter(2, into, 0).scatter(2, out_of, 0)
    held, kept = change.square().sum(2), rest.square().sum(2)
    unused = (threat.eps**2 - held.sum(1)).clamp_min(0) / x.shape[1]
    available = (held - kept + unused[:, None]).clamp_min(0).sqrt()
    shape = window(side).to(x)
    shape = torch.where((numbers[:, 4] < 0.5)[:, None], shape.flatten(), shape.T.flatten())[:, None]
    fresh = _unit(_signs(numbers[:, 5:]).to(x)[:, :, None] * shape + _unit(change.gather(2, into)))
    return threat.project(x + rest.scatter(2, into, available[:, :, None] * fresh).reshape(x.shape), x)


def window(side: int) -> Tensor:
    """Two bumps, one up and one down, that share a square [side, side]; of length 1."""
    half = side // 2
    both = torch.cat([bump(half, side), -bump(side - half, side)])
    unit: Tensor = both / both.norm()
    return unit


def bump(height: int, width: int) -> Tensor:
    """A hill [height, width] that is a staircase of squares: 1 / (d + 1)^2 + ... + 1 / (n + 1)^2 at distance d from its middle.

    d is the larger of the distances in rows and columns, and n half the longer side. SOURCE: equation 2.
    """
    rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    away = torch.maximum(rows.abs()[:, None], columns.abs()[None])
    stairs = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).square().reciprocal()
    return stairs.flip(0).cumsum(0).flip(0)[away]


def _signs(numbers: Tensor) -> Tensor:
    """-1 or 1, like uniform numbers in [0, 1)."""
    return 1 - 2 * (numbers < 0.5).to(numbers)


def _whole(numbers: Tensor, count: int) -> Tensor:
    """0 ... count - 1 from uniform numbers in [0, 1)."""
    return (numbers * count).long().clamp(max=count - 1)


def _pixels(numbers: Tensor, side: int, x: Tensor) -> Tensor:
    """Where the pixels of a random square [n, 2] of each image lie in its flattened channels, [n, C, side * side]."""
    channels, height, width = x.shape[1:]
    top, left = _whole(numbers[:, 0], height - side + 1), _whole(numbers[:, 1], width - side + 1)
    steps = torch.arange(side, device=x.device)
    inside = (top[:, None] + steps)[:, :, None] * width + (left[:, None] + steps)[:, None]
    return inside.flatten(1)[:, None].expand(-1, channels, -1)


def _wide(values: Tensor, side: int) -> Tensor:
    """Each entry of the last two axes made a square."""
    return values.repeat_interleave(side, 2).repeat_interleave(side, 3)


def _unit(values: Tensor) -> Tensor:
    """Of length 1 along the last axis; zero stays zero."""
    return functional.normalize(values, dim=2, eps=torch.finfo(values.dtype).tiny)


LINF = Moves(stripes, side_linf, repaint, 3)
LENGTHWISE = Moves(bumps, side_l2, pull, 5)
