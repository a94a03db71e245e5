"""HopSkipJump: an attack that sees labels alone."""

import math
from collections.abc import Callable
from typing import Self, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from snnguard import rng
from snnguard.errors import InvalidInput
from snnguard.threat import L2, Linf, Threat

from .aim import Aim
from .attack import Attack
from .model import Model
from .queries import Queries

TOGETHER = 32
"""Directions per sample that are asked about at once."""

HALVINGS = 40
"""How often a step is halved before it is given up."""


@final
class HopSkipJump(Attack, kind="hop-skip-jump"):
    """Walks along the boundary of the aim towards the image; asks only whether a point reaches the aim.

    From a first point that does, (1) by bisection to the boundary: on the line to the image in L2, by shrinking the box
    around it in Linf; (2) there, the normal of the boundary from the answers to `evaluations` sqrt(t) random directions, at
    most `most`, at the distance `probe` * ||x' - x||_2 (None: ||x' - x|| / d in the norm of the threat, of d pixels);
    (3) a step ||x' - x|| / sqrt(t) along it, halved until it reaches the aim; `steps` times, with (1) after each. First
    points are noise, uniform in the range, of one pixel's grain and then of coarser ones: the first success of `tries`.

    Returned is the closest point that was found, pulled into the ball where it lies outside: mostly no success there, but
    the nearest point of the ball to one, and the judge looks again. So a radius that spans the range gives the attack as
    published. Samples that find no first point come back unchanged. `early_stop` takes a sample out once its point is in
    the ball. With `draws` > 1 the model counts as random: the majority of the draws answers, and no sample leaves.
    SOURCE: Chen 2020, algorithms 1 and 2; 50 steps, 100 evaluations, at most 10,000.
    DEVIATION: the paper's probe is None, for smooth models. A spiking network is a staircase, whose single step is all that
    so narrow a probe sees. The closest point is kept, not the last. The bisection's threshold is the paper's, d^-1.5 or d^-2
    in Linf, but at most 2^-10 and no finer than the numbers resolve. Coarse noise, since many networks see one class in all
    noise of pixels.
    """

    steps: int = Field(default=50, ge=1)
    evaluations: int = Field(default=100, ge=1)
    most: int = Field(default=10_000, ge=1)
    tries: int = Field(default=100, ge=1)
    probe: PositiveFloat | None = 0.5
    draws: int = Field(default=1, ge=1)
    early_stop: bool = True

    @property
    def frugal(self) -> bool:
        return False  # it asks about many points of a sample at once

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        if not isinstance(threat, Linf | L2):
            raise InvalidInput(f"HopSkipJump knows the threats linf and l2, not {threat.kind}; take one of those")
        walk = _Walk(self, model, x, aim, threat, seed)
        walk.begin()
        for step in range(1, self.steps + 1):
            if len(walk.live) == 0:
                break
            walk.hop(step)
        return threat.project(walk.best, x)

    @classmethod
    def example(cls) -> Self:
        return cls(steps=3, evaluations=20)


class _Walk:
    """One run: where each sample is (`at`), its closest point so far (`best`), and who is still on the way (`live`)."""

    def __init__(self, settings: HopSkipJump, model: Model, x: Tensor, aim: Aim, threat: Linf | L2, seed: int) -> None:
        self.settings, self.x, self.aim, self.threat = settings, x, aim, threat
        self.queries = Queries(model, len(x), draws=settings.draws)
        self.generators = rng.per_sample(x, rng.derive(seed, "hops"))
        self.live = torch.arange(len(x), device=x.device)
        self.at, self.best = x.clone(), x.clone()
        self.pixels = x[0].numel()

    def begin(self) -> None:
        """First points, and from there to the boundary. Who needs none, or finds none, leaves."""
        self.live = lost = self.live[~self._reaches(self.x, self.live)]
        for attempt in range(self.settings.tries):
            if len(lost) == 0:
                break
            noise = coarse(self._draw(torch.rand, 1, lost)[:, 0], attempt)
            points = self.threat.low + (self.threat.high - self.threat.low) * noise
            found = self._reaches(points, lost)
            self.best[lost[found]], lost = points[found], lost[~found]
        self.live = self.live[~torch.isin(self.live, lost)]
        self._settle(self.best[self.live])

    def hop(self, step: int) -> None:
        """From the boundary along its normal, and back to the boundary."""
        self._settle(self._leap(self._normal(step), step))

    def _settle(self, far: Tensor) -> None:
        """To the boundary: bisection between the image and points `far` that reach the aim. Who is in the ball leaves."""
        if len(self.live) == 0:
            return
        live, x = self.live, self.x[self.live]
        at, low, high = far, far.new_zeros(len(far)), far.new_ones(len(far))
        for _ in range(self._halvings()):
            middle = (low + high) / 2
            points = between(x, far, middle, self.threat)
            hit = self._reaches(points, live)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
            at = torch.where(_wide(hit, x), points, at)
        self.at[live] = at
        distance = self.threat.distance(at, x)
        closer = distance < self.threat.distance(self.best[live], x)
        self.best[live[closer]] = at[closer]
        if self.settings.early_stop and self.settings.draws == 1:
            self.live = live[distance > self.threat.eps]

    def _halvings(self) -> int:
        """Bisections until the threshold of the paper is reached; at least ten, and no more than the numbers resolve."""
        threshold = self.pixels ** (-2.0 if isinstance(self.threat, Linf) else -1.5)
        return math.ceil(-math.log2(min(max(threshold, torch.finfo(self.x.dtype).eps), 2**-10)))

    def _normal(self, step: int) -> Tensor:
        """The direction of steepest ascent that the answers around each point give: Monte Carlo with the mean as baseline."""
        at, total = self.at[self.live], min(int(self.settings.evaluations * math.sqrt(step)), self.settings.most)
        width = _wide(self._width(at), at)
        answers, sides, plain = at.new_zeros(len(at)), torch.zeros_like(at), torch.zeros_like(at)
        for begin in range(0, total, TOGETHER):
            count = min(TOGETHER, total - begin)
            direction = self._directions(count)
            points = self.threat.clip(at[:, None] + width[:, None] * direction)
            hit = self._reaches(points.flatten(0, 1), self.live.repeat_interleave(count)).reshape(-1, count)
            answer = 2 * hit.to(at) - 1
            taken = (points - at[:, None]) / width[:, None]
            for k in range(count):  # one after another: the order of the sum must not hang on the size of the batch
                answers += answer[:, k]
                plain += taken[:, k]
                sides += _wide(answer[:, k], at) * taken[:, k]
        mean = answers / total
        return self.threat.ascent(sides - _wide(torch.where(mean.abs() < 1, mean, torch.zeros_like(mean)), at) * plain)

    def _width(self, at: Tensor) -> Tensor:
        """How far around each point it is asked, [n]."""
        x, probe = self.x[self.live], self.settings.probe
        width = self.threat.distance(at, x) / self.pixels if probe is None else probe * (at - x).flatten(1).norm(dim=1)
        # No narrower than what the numbers resolve: a single pixel moves by about width / sqrt(d).
        finest = 64 * torch.finfo(at.dtype).eps * (self.threat.high - self.threat.low) * math.sqrt(self.pixels)
        return width.clamp_min(finest)

    def _leap(self, direction: Tensor, step: int) -> Tensor:
        """The first of the points at ||x' - x|| / sqrt(step), half of it, ... along the direction that reaches the aim."""
        start, landed = self.at[self.live], self.at[self.live]
        length = _wide(self.threat.distance(start, self.x[self.live]) / math.sqrt(step), start)
        trying = torch.arange(len(start), device=start.device)
        for halving in range(HALVINGS):
            if len(trying) == 0:
                break
            points = self.threat.clip(start[trying] + length[trying] / 2**halving * direction[trying])
            hit = self._reaches(points, self.live[trying])
            landed[trying[hit]], trying = points[hit], trying[~hit]
        return landed

    def _reaches(self, points: Tensor, rows: Tensor) -> Tensor:
        return self.queries(points, self.aim[rows]).reached

    def _directions(self, count: int) -> Tensor:
        """Of length 1, [n, count, *F]: Gaussian for L2, from the uniform cube for Linf."""
        drawn = 2 * self._draw(torch.rand, count, self.live) - 1 if isinstance(self.threat, Linf) else (
            self._draw(torch.randn, count, self.live))  # fmt: skip
        return functional.normalize(drawn.flatten(2), dim=2).reshape(drawn.shape)

    def _draw(self, sampler: Callable[..., Tensor], count: int, rows: Tensor) -> Tensor:
        """[n, count, *F] from each sample's own generator."""
        shape = (count, *self.x.shape[1:])
        return torch.stack([sampler(shape, generator=self.generators[i]) for i in rows.tolist()]).to(self.x)


def between(x: Tensor, far: Tensor, share: Tensor, threat: Linf | L2) -> Tensor:
    """The point at `share` of the way from each image: on the line in L2, `far` cut to a box of that share in Linf."""
    if isinstance(threat, L2):
        return threat.clip(x + _wide(share, x) * (far - x))
    side = _wide(share * threat.distance(far, x), x)
    return threat.clip(x + (far - x).clamp(-side, side))


def coarse(noise: Tensor, attempt: int) -> Tensor:
    """The noise in squares of 1, 2, 4, ... pixels of the last two axes, one size per attempt and over again."""
    if noise.ndim < 4:
        return noise
    height, width = noise.shape[-2:]
    grain = 2 ** (attempt % min(height, width).bit_length())
    rows, columns = (torch.arange(side, device=noise.device) // grain * grain for side in (height, width))
    return noise[..., rows[:, None], columns]


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """[N] shaped to broadcast against [N, *F]."""
    return values.reshape(-1, *[1] * (x.ndim - 1))
