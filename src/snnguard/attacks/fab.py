"""The Fast Adaptive Boundary attack: the closest point beyond the decision boundary, by projections onto its tangent planes."""

from typing import Literal, NamedTuple, Self, final

import torch
from pydantic import Field
from torch import Tensor

from snnguard import rng
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .gradient import Gradients, InputGradient
from .model import Model, check_labels, hard, predict
from .multi_targeted import LEAD, wrong_classes


@final
class FAB(Attack, kind="fab"):
    """Looks for the closest success, wherever eps is: with P(z) the point of the range nearest to z at which z_t - z_y,
    linearised at x', is zero, and alpha = min(|P(x') - x'| / (|P(x') - x'| + |P(x) - x|), `alpha_max`), a step is
    x' <- clip((1 - alpha) (x' + eta (P(x') - x')) + alpha (x + eta (P(x) - x))). After a success x' goes back to
    x + beta (x' - x). `project_onto_plane` gives P in closed form, for either norm.

    With `variant` "targeted" t is each of the `classes` most likely wrong classes of the clean image in turn, `steps` steps
    each: one gradient and one look per step. "untargeted" takes at each step the nearest of all K - 1 planes, for as many
    gradients. Either way every class but y is a success. Where a call is targeted itself, the plane is that of
    z_t - max_{i != t} z_i, in one run. `restarts` after the first begin at a random point within half the distance of the
    closest success, or eps / 2 if that is less.

    The closest success is returned if it lies in the ball. `early_stop` ends a sample's run as soon as one does; without
    it the search for a closer one goes on. What lies outside is cut back to the ball, where AutoAttack returns the clean
    image: never worse to judge, and now and then a success, as what is found lies a little beyond the boundary. Where
    nothing succeeds, the point of the largest lead is treated alike. Of `gradient`, rule and draws are used, not the loss.

    With `gradient.draws` > 1 the model counts as random: no look ends a run, and since the closest point sits where the
    coin falls either way, the rest of the radius is spent in its direction if that raises the mean lead.
    SOURCE: Croce & Hein 2020 (FAB), algorithm 1; its defaults, and 9 target classes as in AutoAttack's FAB-T.
    DEVIATION: no final search on the line to the clean image, which AutoAttack leaves out as well: it gains that little, and
    ends on the boundary itself, where rounding may undo the success. Restarts begin inside their ball, not on its surface;
    a sample without any gradient stays where it is. The step believes the size of the gradient: under a surrogate far from
    the slope of the logits it leaps too far or creeps, and attacks that use the sign alone say more.
    """

    variant: Literal["targeted", "untargeted"] = "targeted"
    classes: int = Field(default=9, ge=1)
    steps: int = Field(default=100, ge=1)
    restarts: int = Field(default=1, ge=1)
    alpha_max: float = Field(default=0.1, ge=0, le=1)
    eta: float = Field(default=1.05, ge=1)
    beta: float = Field(default=0.9, gt=0, le=1)
    early_stop: bool = True
    gradient: InputGradient = InputGradient()

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        draws = self.gradient.draws
        logits = predict(model, x, draws=draws)
        check_labels(x, hard(aim.leave), logits.shape[1])
        if threat.eps == 0:
            return x.clone()
        best = Closest(x, aim.lead(logits), aim.reached(logits) & (draws == 1))
        enough = -1.0 if draws > 1 else threat.eps if self.early_stop else 0.0
        courses = self._courses(aim, logits)
        for restart in range(self.restarts):
            for k, planes in enumerate(courses):
                live = (best.distance > enough).nonzero().flatten()
                if len(live) == 0:
                    break
                seed_here = rng.derive(seed, "start", restart, k)
                at = x[live] if restart == 0 else self._restart(x[live], best.distance[live], threat, seed_here)
                self._walk(model, at, x, aim, planes, live, best, threat, enough)
        return threat.project(best.point, x) if draws == 1 else self._spend(model, x, aim, best, threat)

    def _courses(self, aim: Aim, logits: Tensor) -> list[list[Aim]]:
        """The runs to be made, each with the aims to whose planes it looks."""
        if aim.reach is not None:
            return [[aim]]
        wrong = wrong_classes(logits, hard(aim.leave), most=logits.shape[1])
        planes = [Aim(aim.leave, reach) for reach in wrong.unbind(1)]
        return [planes] if self.variant == "untargeted" else [[plane] for plane in planes[: self.classes]]

    def _restart(self, x: Tensor, distance: Tensor, threat: Threat, seed: int) -> Tensor:
        share = distance.clamp(max=threat.eps) / (2 * threat.eps)
        return x + _wide(share, x) * (threat.sample(x, seed) - x)

    def _walk(
        self, model: Model, at: Tensor, x: Tensor, aim: Aim, planes: list[Aim], live: Tensor, best: "Closest",
        threat: Threat, enough: float,
    ) -> None:  # fmt: skip
        """One run of the samples `live` from the points `at`; `best` keeps what it finds."""
        ask = self.gradient.model_copy(update={"loss": LEAD}).begin(model, len(x))
        for _ in range(self.steps):
            plane = nearest_plane(ask, at, [one[live] for one in planes], live, threat)
            at = self._step(at, x[live], plane, threat)
            logits = predict(model, at, draws=self.gradient.draws)
            won = aim[live].reached(logits)
            best.see(live, at, threat.distance(at, x[live]), aim[live].lead(logits), won)
            at = torch.where(_wide(won, at), threat.clip(x[live] + self.beta * (at - x[live])), at)
            left = best.distance[live] > enough
            at, live = at[left], live[left]
            if len(live) == 0:
                break

    def _step(self, at: Tensor, x: Tensor, plane: "Plane", threat: Threat) -> Tensor:
        # In double precision: a step close to the boundary is a small difference of sums over all pixels.
        here, home = at.flatten(1).double(), x.flatten(1).double()
        to_plane = project_onto_plane(here, plane.normal, -plane.lead, threat)
        lead = plane.lead + (plane.normal * (home - here)).sum(1)
        from_home = project_onto_plane(home, plane.normal, -lead, threat)
        far, near = (threat.distance(move, torch.zeros_like(move)) for move in (to_plane, from_home))
        share = torch.where(far > 0, far / (far + near), 0).clamp(max=self.alpha_max)[:, None]
        moved = (1 - share) * (here + self.eta * to_plane) + share * (home + self.eta * from_home)
        return threat.clip(moved.to(x.dtype).reshape(x.shape))

    def _spend(self, model: Model, x: Tensor, aim: Aim, best: "Closest", threat: Threat) -> Tensor:
        """Of the image, the point found cut back to the ball, and the edge of the ball beyond it, the best on average."""
        move = best.point - x
        length = threat.distance(best.point, x).clamp_min(torch.finfo(x.dtype).tiny)
        edge = x + move / _wide(length, x) * threat.eps
        points = torch.stack([x, threat.project(best.point, x), threat.project(edge, x)])
        leads = torch.stack([aim.lead(predict(model, point, draws=self.gradient.draws)) for point in points])
        return points[leads.argmax(0), torch.arange(len(x), device=x.device)]

    @classmethod
    def example(cls) -> Self:
        return cls(steps=4, classes=2)


class Closest:
    """Per sample the closest success so far and its distance, infinite as long as there is none; till then the point of the
    largest lead."""

    def __init__(self, x: Tensor, lead: Tensor, won: Tensor) -> None:
        self.point, self.lead = x.clone(), lead
        self.distance = torch.where(won, 0.0, torch.full_like(x.flatten(1)[:, 0], torch.inf))

    def see(self, rows: Tensor, at: Tensor, distance: Tensor, lead: Tensor, won: Tensor) -> None:
        """Looks at the points `at` of the samples `rows`."""
        closer = won & (distance < self.distance[rows])
        better = closer | (torch.isinf(self.distance[rows]) & (lead > self.lead[rows]))
        self.point[rows[better]], self.lead[rows[better]] = at[better], lead[better]
        self.distance[rows[closer]] = distance[closer]


class Plane(NamedTuple):
    """lead [n] + normal . (z - x') for z near x', normal [n, d]: positive beyond the boundary."""

    lead: Tensor
    normal: Tensor


def nearest_plane(ask: Gradients, at: Tensor, aims: list[Aim], rows: Tensor, threat: Threat) -> Plane:
    """Of the leads towards `aims`, linearised at `at`, the one whose zero is nearest: |lead| / dual norm of its gradient.

    Where no lead has a gradient, the plane is zero everywhere: nothing to move for.
    """
    lead = torch.zeros(len(at), dtype=torch.float64, device=at.device)
    normal = torch.zeros_like(at.flatten(1), dtype=torch.float64)
    nearest = torch.full_like(lead, torch.inf)
    for aim in aims:
        ascent = ask(at, aim, rows)
        gradient = ascent.gradient.flatten(1).double()
        steepness = (gradient * threat.ascent(gradient)).sum(1)
        away = torch.where(steepness > 0, ascent.loss.double().abs() / steepness, torch.inf)
        closer = away < nearest
        lead, nearest = torch.where(closer, ascent.loss.double(), lead), torch.where(closer, away, nearest)
        normal = torch.where(closer[:, None], gradient, normal)
    return Plane(lead, normal)


def project_onto_plane(at: Tensor, normal: Tensor, rise: Tensor, threat: Threat) -> Tensor:
    """The smallest move of each point `at` [n, d] with normal . move = rise [n] that stays in the range, in the norm of the
    threat; where the range does not reach so far, the move to the point of it at which normal . move comes closest.

    Each pixel moves by min(t rate, room) in the direction that helps, rate = |ascent(normal)| (1 in Linf, in proportion to
    the normal in L2), room what is left to the edge of the range. t solves sum |normal| min(t rate, room) = |rise|, which
    is linear between the t at which one pixel after the other arrives at its edge: sort, sum, and solve in one piece.
    """
    towards = threat.ascent(normal * rise.sign()[:, None])
    rate = towards.abs()
    room = torch.where(towards > 0, threat.high - at, at - threat.low).clamp_min(0)
    arrival, order = torch.where(rate > 0, room / rate, 0).sort(dim=1)
    weight = normal.abs()
    moving = (weight * rate).gather(1, order).flip(1).cumsum(1).flip(1)
    full = (weight * room).gather(1, order)
    before = full.cumsum(1) - full
    piece = (before + arrival * moving < rise.abs()[:, None]).sum(1, keepdim=True)
    here = piece.clamp(max=at.shape[1] - 1)
    solved = (rise.abs()[:, None] - before.gather(1, here)) / moving.gather(1, here).clamp_min(TINY)
    t = torch.where(piece == here, solved.clamp_min(0), arrival[:, -1:])
    return towards.sign() * torch.where(rate > 0, torch.minimum(t * rate, room), 0)


TINY = torch.finfo(torch.float64).tiny
"""Keeps quotients finite where nothing moves."""


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """[N] shaped to broadcast against [N, *F]; numbers in the type of `x`."""
    values = values if values.dtype == torch.bool else values.to(x.dtype)
    return values.reshape(-1, *[1] * (x.ndim - 1))
