"""FAB: its projections against linear programs and bisection, its steps by hand, and the distances of linear models."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from snnguard.attacks import FAB, PGD, Aim, Attack, CrossEntropy, InputGradient
from snnguard.attacks.fab import Closest, nearest_plane, project_onto_plane
from snnguard.errors import RequestError
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

LINF, TWO = Linf(eps=0.1), L2(eps=0.1)
NORMS = pytest.mark.parametrize("threat", [LINF, TWO], ids=["linf", "l2"])


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def flat(x: Tensor) -> Tensor:
    return x.flatten(1)


# --- the projection -------------------------------------------------------------------------------------------------------


def test_projections_by_hand() -> None:
    at, normal = row(0.5, 0.5, 0.9), row(1.0, -2.0, 4.0)

    def project(rise: float, threat: Any) -> Tensor:
        return project_onto_plane(at, normal, torch.tensor([rise], dtype=torch.float64), threat)

    # All free: rise / (1 + 2 + 4) each in Linf, rise * normal / 21 in L2.
    torch.testing.assert_close(project(0.35, LINF), row(0.05, -0.05, 0.05))
    torch.testing.assert_close(project(0.21, TWO), row(0.01, -0.02, 0.04))
    torch.testing.assert_close(project(-0.35, LINF), row(-0.05, 0.05, -0.05))
    # The last pixel stops at 1.0 after 0.1, worth 0.4 of the rise; the others share the remaining 0.6 (of 3) and 0.3 (of 5).
    torch.testing.assert_close(project(1.0, LINF), row(0.2, -0.2, 0.1))
    torch.testing.assert_close(project(0.7, TWO), row(0.06, -0.12, 0.1))
    # The range ends at a rise of 0.5 + 2 * 0.5 + 4 * 0.1 = 1.9; beyond it all pixels stand at their edges.
    for threat in (LINF, TWO):
        torch.testing.assert_close(project(1.9, threat), row(0.5, -0.5, 0.1))
        torch.testing.assert_close(project(9.0, threat), row(0.5, -0.5, 0.1))


@NORMS
def test_projections_without_anything_to_do(threat: Any) -> None:
    at = row(0.0, 1.0, 0.5)
    for normal, rise in (((0.0, 0.0, 0.0), 0.0), ((0.0, 0.0, 0.0), 1.0), ((1.0, 2.0, 3.0), 0.0)):
        move = project_onto_plane(at, row(*normal), torch.tensor([rise], dtype=torch.float64), threat)
        assert torch.equal(move, torch.zeros_like(at))
    # Pixels that stand at the edge already, or that the plane does not ask for, leave all to the others.
    move = project_onto_plane(at, row(-1.0, 2.0, 4.0), torch.tensor([0.4], dtype=torch.float64), threat)
    torch.testing.assert_close(move, row(0.0, 0.0, 0.1))
    move = project_onto_plane(at, row(0.0, 0.0, -4.0), torch.tensor([0.4], dtype=torch.float64), threat)
    torch.testing.assert_close(move, row(0.0, 0.0, -0.1))


@NORMS
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e150])
def test_projections_at_any_scale(threat: Any, scale: float) -> None:
    at, normal = row(0.5, 0.5, 0.9), row(1.0, -2.0, 4.0)
    move = project_onto_plane(at, scale * normal, torch.tensor([0.7 * scale], dtype=torch.float64), threat)
    expected = project_onto_plane(at, normal, torch.tensor([0.7], dtype=torch.float64), threat)
    torch.testing.assert_close(move, expected, rtol=1e-9, atol=0)
    # One pixel beyond all measure smaller than the others: it makes no NaN, however far the plane.
    uneven = project_onto_plane(at, row(1.0, 1e-320, 0.0), torch.tensor([9.0], dtype=torch.float64), threat)
    assert torch.isfinite(uneven).all()
    assert float(uneven[0, 0]) == 0.5


def problems(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points (a fifth of the pixels at an edge), normals (a fifth of the entries zero), rises from easy to impossible."""
    g = torch.Generator().manual_seed(0)
    at = (1.5 * torch.rand(n, 7, generator=g, dtype=torch.float64) - 0.25).clamp(0, 1)
    normal = torch.randn(n, 7, generator=g, dtype=torch.float64) * (torch.rand(n, 7, generator=g) > 0.2)
    rise = torch.randn(n, generator=g, dtype=torch.float64) * torch.logspace(-2, 1, n, dtype=torch.float64)
    return at, normal, rise


def reachable(at: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
    """The rise cut to what the range allows: all pixels at whichever end helps."""
    ends = [(normal * (edge - at)) for edge in (0.0, 1.0)]
    return rise.clamp(torch.minimum(*ends).sum(1), torch.maximum(*ends).sum(1))


def test_linf_projections_solve_the_linear_program() -> None:
    at, normal, rise = problems(60)
    move = project_onto_plane(at, normal, rise, LINF)
    possible = reachable(at, normal, rise)
    assert 5 < int((possible != rise).sum()) < 40
    torch.testing.assert_close((normal * move).sum(1), possible)
    assert ((at + move >= -1e-12) & (at + move <= 1 + 1e-12)).all()
    for i in range(60):
        # Variables: the move and its size t. Minimise t with -t <= move_j <= t, normal . move = rise, in the range.
        eye, ones = np.eye(7), np.ones((7, 1))
        solved = linprog(
            c=np.array([0.0] * 7 + [1.0]),
            A_ub=np.block([[eye, -ones], [-eye, -ones]]), b_ub=np.zeros(14),
            A_eq=np.append(normal[i].numpy(), 0.0)[None], b_eq=[float(possible[i]) * (1 - 1e-12)],
            bounds=[(-float(p), 1 - float(p)) for p in at[i]] + [(0, None)],
        )  # fmt: skip
        assert solved.success
        free = float(move[i].abs().max())
        # Where the plane is out of reach the whole way counts, also that of pixels at which the program may stop earlier.
        assert free == pytest.approx(solved.fun, abs=1e-7)


def test_l2_projections_agree_with_bisection() -> None:
    at, normal, rise = problems(60)
    move = project_onto_plane(at, normal, rise, TWO)
    possible = reachable(at, normal, rise)
    # The nearest point is clip(at + s normal) - at for the one s that gives the rise.
    low, high = torch.full_like(rise, -1e6), torch.full_like(rise, 1e6)
    for _ in range(120):
        s = (low + high) / 2
        found = (at + s[:, None] * normal).clamp(0, 1) - at
        less = (normal * found).sum(1) < possible
        low, high = torch.where(less, s, low), torch.where(less, high, s)
    torch.testing.assert_close(move, found, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close((normal * move).sum(1), possible)


# --- planes and bookkeeping -----------------------------------------------------------------------------------------------


class Planes(nn.Module):
    """Logits (0, w_1 . x + b_1, ...): to leave class 0 is to cross one of these planes."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b, self.seen = w, b, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        scores = flat(x) @ self.w.T + self.b
        return torch.cat([torch.zeros_like(scores[:, :1]), scores], 1)


def rival_planes() -> Planes:
    """At 0.5 the leads are -1, -2 and -3: the second of these planes is the nearest, the first the most likely class."""
    w = torch.tensor([[1.0, 0.0], [8.0, 8.0], [3.0, 3.0]], dtype=torch.float64)
    return Planes(w, torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64) - w.sum(1) / 2)


@NORMS
def test_the_nearest_plane_is_the_lead_over_the_dual_norm(threat: Any) -> None:
    ask = InputGradient.parse({"loss": {"kind": "margin", "confidence": 1e9}}).begin(rival_planes(), 1)
    at = row(0.5, 0.5)
    aims = [Aim(zeros(1), zeros(1) + t) for t in (1, 2, 3)]
    # Distances 1 / 1, 2 / 16 and 3 / 6 in Linf; 1, 2 / 11.3 and 3 / 4.2 in L2.
    plane = nearest_plane(ask, at, aims, torch.tensor([0]), threat)
    torch.testing.assert_close(plane.lead, torch.tensor([-2.0], dtype=torch.float64))
    torch.testing.assert_close(plane.normal, row(8.0, 8.0))
    plane = nearest_plane(ask, at, aims[:1], torch.tensor([0]), threat)
    torch.testing.assert_close(plane.lead, torch.tensor([-1.0], dtype=torch.float64))
    torch.testing.assert_close(plane.normal, row(1.0, 0.0))


@NORMS
def test_a_plane_without_slope_is_passed_over(threat: Any) -> None:
    w = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    model = Planes(w, torch.tensor([0.0, -5.0], dtype=torch.float64))
    ask = InputGradient.parse({"loss": {"kind": "margin", "confidence": 1e9}}).begin(model, 1)
    aims = [Aim(zeros(1), zeros(1) + t) for t in (1, 2)]
    plane = nearest_plane(ask, row(0.5, 0.5), aims, torch.tensor([0]), threat)
    torch.testing.assert_close(plane.normal, row(1.0, 1.0))  # though the lead of the first is zero: 0 / 0
    still = nearest_plane(ask, row(0.5, 0.5), aims[:1], torch.tensor([0]), threat)
    assert still.lead.tolist() == [0.0]
    assert still.normal.tolist() == [[0.0, 0.0]]


def test_the_closest_success_is_kept_and_before_it_the_largest_lead() -> None:
    x = torch.zeros(3, 1)
    best = Closest(x, torch.tensor([-5.0, -5.0, 1.0]), torch.tensor([False, False, True]))
    assert best.distance.tolist() == [torch.inf, torch.inf, 0.0]
    rows = torch.tensor([0, 1])

    def see(at: list[float], distance: list[float], lead: list[float], won: list[bool]) -> None:
        values = [torch.tensor(part)[:, None] if part is at else torch.tensor(part) for part in (at, distance, lead, won)]
        best.see(rows, *values)

    see([0.1, 0.2], [0.1, 0.2], [-4.0, -6.0], [False, False])
    assert best.point.flatten().tolist() == pytest.approx([0.1, 0.0, 0.0])  # a smaller lead is no progress
    see([0.8, 0.9], [0.8, 0.9], [0.5, 0.5], [True, True])
    see([0.7, 0.95], [0.7, 0.95], [0.1, 3.0], [True, True])
    see([0.6, 0.1], [0.6, 0.1], [9.0, 9.0], [False, False])  # close, but no success
    assert best.point.flatten().tolist() == pytest.approx([0.7, 0.9, 0.0])
    assert best.distance.tolist() == pytest.approx([0.7, 0.9, 0.0])


# --- the steps ------------------------------------------------------------------------------------------------------------


class Bowl(nn.Module):
    """Logits (0, q) with q = a . (x - centre)^2 - 1, curved, so that each step sees another plane."""

    a = torch.tensor([1.0, 4.0], dtype=torch.float64)
    centre = torch.tensor([0.2, -0.1], dtype=torch.float64)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[float]] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.asked.append(x.detach().flatten().tolist())
        q = (self.a * (flat(x) - self.centre) ** 2).sum(1) - 1
        return torch.stack([torch.zeros_like(q), q], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_iterates_written_out_on_numbers(norm: str) -> None:
    # Wide ranges, so that projections need no clipping; and a step so long that the boundary is crossed and left again.
    make = Linf if norm == "linf" else L2
    threat, model, steps = make(eps=90.0, low=-100.0, high=100.0), Bowl(), 12
    x = np.array([0.3, 0.1])
    attack = FAB(steps=steps, alpha_max=0.2, eta=1.3, beta=0.7, early_stop=False)
    x_adv = attack(model, row(*x), zeros(1), threat=threat, seed=0)

    def onto(z: np.ndarray, at: np.ndarray, q: float, g: np.ndarray) -> np.ndarray:
        lead = q + g @ (z - at)
        return -lead * np.sign(g) / np.abs(g).sum() if norm == "linf" else -lead * g / (g @ g)

    size = (lambda d: np.abs(d).max()) if norm == "linf" else (lambda d: np.sqrt(d @ d))
    a, centre = np.array([1.0, 4.0]), np.array([0.2, -0.1])
    at, asked, found, crossed = x, [], [], 0
    for _ in range(steps):
        asked.append(at.tolist())
        q, g = float((a * (at - centre) ** 2).sum() - 1), 2 * a * (at - centre)
        here, home = onto(at, at, q, g), onto(x, at, q, g)
        alpha = min(size(here) / (size(here) + size(home)), 0.2)
        at = (1 - alpha) * (at + 1.3 * here) + alpha * (x + 1.3 * home)
        if (a * (at - centre) ** 2).sum() > 1:
            found.append(at)
            crossed += 1
            at = x + 0.7 * (at - x)
    assert 2 < crossed <= steps
    np.testing.assert_allclose(model.asked, asked, rtol=1e-9)
    closest = min(found, key=lambda point: size(point - x))
    np.testing.assert_allclose(x_adv[0], closest, rtol=1e-9)
    assert closest is not found[0]  # else the search has found nothing that one step does not


@NORMS
@pytest.mark.parametrize("variant", ["targeted", "untargeted"])
def test_the_distance_of_a_plane_is_found_to_a_hundredth(threat: Any, variant: Any, linear: Make, images: Make) -> None:
    w = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = images(20)
    b = -float((flat(x) @ w).max()) - 2
    model = linear(torch.stack([0 * w, w]), torch.tensor([0.0, b], dtype=torch.float64))
    # A class-0 image; the first step overshoots by 5 %, later ones by 5 % of the tenth that the way back has left.
    x_adv = FAB(steps=10, variant=variant, early_stop=False)(
        model, x, zeros(20), threat=threat.model_copy(update={"eps": 5.0}), seed=0
    )
    assert (model(x_adv).argmax(1) == 1).all()
    rise = -(flat(x) @ w + b)
    nearest = project_onto_plane(flat(x), w.expand(20, -1), rise, threat)
    least = threat.distance(nearest, torch.zeros_like(nearest))
    closed = rise / (w.abs().sum() if threat.kind == "linf" else w.norm())
    assert (least >= closed - 1e-12).all()
    assert (least > closed + 1e-6).any()  # some planes are so far that pixels reach the edge of the range
    assert (least < closed + 1e-12).any()
    ratio = threat.distance(x_adv, x) / least
    assert (ratio >= 1).all()
    assert (ratio <= 1.01).all()


def eps_of(x: float) -> Linf:
    return Linf(eps=x)


def test_classes_are_tried_from_the_most_likely_on() -> None:
    # In Linf the boundaries are at 1, 2 / 16 and 3 / 6 (see above).
    x, y = torch.full((1, 2), 0.5, dtype=torch.float64), zeros(1)
    for attack, expected in (
        (FAB(classes=1, early_stop=False), 0.5),  # out of reach of the range: the edge of it
        (FAB(classes=2, early_stop=False), 2 / 16),
        (FAB(early_stop=False), 2 / 16),
        (FAB(variant="untargeted", classes=1, early_stop=False), 2 / 16),
    ):
        x_adv = attack.model_copy(update={"steps": 10})(rival_planes(), x, y, threat=eps_of(0.9), seed=0)
        moved = float((x_adv - x).abs().max())
        assert expected <= moved <= 1.01 * expected


def test_what_a_step_costs() -> None:
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    for attack, looks in (
        (FAB(steps=5, classes=2, early_stop=False), 1 + 2 * 5 * 2),
        (FAB(steps=5, early_stop=False), 1 + 3 * 5 * 2),
        (FAB(steps=5, variant="untargeted", early_stop=False), 1 + 5 * (3 + 1)),
        (FAB(steps=5, restarts=2, classes=1, early_stop=False), 1 + 2 * 5 * 2),
    ):
        model = rival_planes()
        attack(model, x, zeros(1), threat=eps_of(0.1), seed=0)
        assert len(model.seen) == looks


def test_what_has_fallen_within_the_ball_leaves_the_batch() -> None:
    # Boundaries at 1/8 of a distance that grows with the image; only some lie within eps.
    model = rival_planes()
    x = torch.tensor([[0.5, 0.5], [0.56, 0.56], [0.7, 0.7]], dtype=torch.float64)  # the last one is misclassified
    x_adv = FAB(steps=4, variant="untargeted")(model, x, zeros(3), threat=eps_of(0.1), seed=0)
    # 0.125 and 0.065 away from the boundary: the second goes after the first look, the first never.
    assert model.seen == [3, 2, 2, 2, 2, *[1, 1, 1, 1] * 3]
    assert torch.equal(x_adv[2], x[2])
    assert (model(x_adv).argmax(1) != 0).tolist() == [False, True, True]
    torch.testing.assert_close(x_adv[0], x[0] + 0.1)  # as near as the ball allows
    assert float((x_adv[1] - x[1]).abs().max()) == pytest.approx(1.05 * 0.065)
    closer = FAB(steps=4, variant="untargeted", early_stop=False)(model, x, zeros(3), threat=eps_of(0.1), seed=0)
    assert float((closer[1] - x[1]).abs().max()) == pytest.approx(0.065, rel=0.01)
    assert torch.equal(closer[2], x[2])


@NORMS
def test_nothing_is_returned_outside_the_ball(threat: Any, smooth: nn.Module, images: Make) -> None:
    x = images(60)
    y = smooth(x).argmax(1)
    far = FAB(steps=20, early_stop=False)(smooth, x, y, threat=threat.model_copy(update={"eps": 5.0}), seed=0)
    distance = threat.distance(far, x)
    assert (smooth(far).argmax(1) != y).all()
    threat = threat.model_copy(update={"eps": float(distance.median())})
    x_adv = FAB(steps=20)(smooth, x, y, threat=threat, seed=0)
    fell = smooth(x_adv).argmax(1) != y
    assert threat.contains(x_adv, x).all()
    assert fell[distance <= threat.eps].all()  # what one can find without a radius is found with one
    assert 20 < int(fell.sum()) < 40
    torch.testing.assert_close(threat.distance(x_adv, x)[~fell], torch.full((60,), threat.eps).double()[~fell])
    same = FAB(steps=20, early_stop=False)(smooth, x, y, threat=threat, seed=0)
    torch.testing.assert_close(same, threat.project(far, x))  # without early stop the way does not know the radius


class Curved(nn.Module):
    """Logits whose arithmetic is the same for an image in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        w = torch.randn(4, x[0].numel(), generator=torch.Generator().manual_seed(1), dtype=x.dtype)
        return (torch.sin(5 * flat(x))[:, None, :] * w).sum(-1)


@NORMS
def test_more_steps_never_lose_a_success_or_come_farther(threat: Any, images: Make) -> None:
    x = images(40)
    y = Curved()(x).argmax(1)
    wide, found = threat.model_copy(update={"eps": 5.0}), []
    for steps in (3, 12):
        x_adv = FAB(early_stop=False, steps=steps)(Curved(), x, y, threat=wide, seed=0)
        fell = Curved()(x_adv).argmax(1) != y
        found.append(torch.where(fell, threat.distance(x_adv, x), torch.inf))
    assert (found[1] <= found[0]).all()
    assert (found[1] < found[0] - 1e-9).any()


def test_it_comes_closer_than_pgd_needs_to_go(smooth: nn.Module, images: Make) -> None:
    x = images(40)
    y = smooth(x).argmax(1)
    distance = (FAB(early_stop=False)(smooth, x, y, threat=Linf(eps=1.0), seed=0) - x).flatten(1).abs().amax(1)
    for share in (0.8, 0.9):
        for k in (5, 20):
            # A ball of 0.8 or 0.9 of the distance that FAB calls least holds nothing that PGD finds.
            threat = Linf(eps=float(share * distance[k]))
            image, label = x[k : k + 1], y[k : k + 1]
            x_adv = PGD(steps=50, step_fraction=0.1, early_stop=True)(smooth, image, label, threat=threat, seed=0)
            assert int(smooth(x_adv).argmax(1)) == int(label)


class Recorded(nn.Module):
    """Keeps what it is asked about; the lead of class 1 is `score` of the sum of the pixels."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        score = self.score(flat(x).sum(1))
        return torch.stack([torch.zeros_like(score), score], 1)


@NORMS
def test_restarts_begin_within_half_of_what_there_is_to_gain(threat: Any) -> None:
    x = torch.full((1, 2, 2, 2), 0.5, dtype=torch.float64)
    for offset, half in ((100.0, 0.05), (0.08, None)):
        model = Recorded(lambda total, offset=offset: total - 4 - offset)
        FAB(steps=1, restarts=3, early_stop=False)(model, x, zeros(1), threat=threat, seed=0)
        clean, first, _, second, _, third, _ = model.asked
        assert torch.equal(first, clean)
        # Nothing found: half of eps. Found at 1.05 times the distance of the plane, 0.08 / 8 or 0.08 / sqrt(8): half of that.
        half = half or 1.05 * (0.01 if threat.kind == "linf" else 0.08 / 8**0.5) / 2
        for start in (second, third):
            assert 0.2 * half < float(threat.distance(start, x)) <= half + 1e-12
        assert not torch.equal(second, third)


def test_a_restart_finds_a_slope_where_the_image_has_none() -> None:
    def stair(total: Tensor) -> Tensor:
        away = (total - 4).abs() - 0.01
        return away.clamp(min=0) - 0.1  # flat around the image

    x = torch.full((4, 2, 2, 2), 0.5, dtype=torch.float64)
    for restarts, fallen in ((1, 0), (3, 4)):
        model = Recorded(stair)
        x_adv = FAB(steps=8, restarts=restarts)(model, x, zeros(4), threat=Linf(eps=0.1), seed=0)
        assert int((model(x_adv).argmax(1) == 1).sum()) == fallen


@NORMS
def test_restarts_find_by_luck_what_the_slope_at_the_image_hides(threat: Any) -> None:
    def score(p: Tensor) -> Tensor:
        # The slope at the image, 0.5, leads to the boundary at 0.59; behind its back there is another one at 0.47.
        return torch.where(p > 0.49, p - 0.59, 0.47 - p)

    x, model = torch.full((1, 1), 0.5, dtype=torch.float64), Recorded(score)
    distances = {}
    for restarts in (1, 2):
        attack = FAB(steps=10, restarts=restarts, early_stop=False)
        found = [attack(model, x, zeros(1), threat=threat, seed=seed) for seed in range(10)]
        distances[restarts] = torch.cat([threat.distance(x_adv, x) for x_adv in found])
    near, far = ((distances[2] < limit).sum() for limit in (0.031, 0.091))
    assert (distances[1] == distances[1][0]).all()  # the first start is the image itself, whatever the seed
    assert 0.09 <= float(distances[1][0]) < 0.091
    assert 0 < int(near) < 10
    assert int(far) == 10


@NORMS
def test_without_a_slope_nothing_moves(threat: Any, images: Make) -> None:
    x = images(3)
    for score in (lambda total: total * 0 - 1, lambda total: (total > 99).to(total) - 1):
        for variant in ("targeted", "untargeted"):
            assert torch.equal(FAB(steps=5, variant=variant)(Recorded(score), x, zeros(3), threat=threat, seed=0), x)
            again = FAB(steps=5, variant=variant, restarts=2)(Recorded(score), x, zeros(3), threat=threat, seed=0)
            assert torch.isfinite(again).all()


@NORMS
def test_the_scale_of_the_logits_changes_nothing(threat: Any, linear: Make) -> None:
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    x = 0.3 + 0.4 * torch.rand(6, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    y = linear(w)(x).argmax(1)
    usual = FAB(steps=10, early_stop=False)(linear(w), x, y, threat=threat, seed=0)
    assert (usual != x).flatten(1).any(1).all()
    for power in (-120, 60):  # in float32 the squares of such gradients vanish, or overflow
        scaled = FAB(steps=10, early_stop=False)(linear(w * 2.0**power), x, y, threat=threat, seed=0)
        torch.testing.assert_close(scaled, usual, rtol=0, atol=1e-6)


@NORMS
def test_pixels_at_the_edge_of_the_range_move_the_other_way_only(threat: Any, linear: Make) -> None:
    w = torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0, -2.0, 0.0, 1.0], dtype=torch.float64)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5], dtype=torch.float64).reshape(1, 2, 2, 2)
    b = -float(flat(x) @ w) - 0.3
    model = linear(torch.stack([0 * w, w]), torch.tensor([0.0, b], dtype=torch.float64))
    wide = threat.model_copy(update={"eps": 1.0})
    x_adv = FAB(steps=10, early_stop=False)(model, x, zeros(1), threat=wide, seed=0)
    assert int(model(x_adv).argmax(1)) == 1
    # Pixels 1, 3, 5 and 7 have room, with weights 1, -1, -2 and 1: 0.3 / 5 in Linf, 0.3 / sqrt(7) in L2.
    least = 0.06 if threat.kind == "linf" else 0.3 / 7**0.5
    assert least <= float(threat.distance(x_adv, x)) <= 1.01 * least
    assert torch.equal(flat(x_adv)[0, [0, 2, 4, 6]], flat(x)[0, [0, 2, 4, 6]])


# --- aims, random models, the shell ---------------------------------------------------------------------------------------


@NORMS
@pytest.mark.parametrize("variant", ["targeted", "untargeted"])
def test_a_targeted_call_goes_to_its_class_and_no_farther(threat: Any, variant: Any, linear: Make, images: Make) -> None:
    model, x = linear(torch.eye(3, 8, dtype=torch.float64)), images(12)
    y = model(x).argmax(1)
    wide = threat.model_copy(update={"eps": 1.0})
    for shift in (1, 2):
        targets = (y + shift) % 3
        x_adv = FAB(steps=30, variant=variant, early_stop=False)(model, x, y, threat=wide, seed=0, targets=targets)
        assert torch.equal(model(x_adv).argmax(1), targets)
        # The two pixels of y and t must meet: half of the gap each in Linf, gap / sqrt(2) in L2; and t must pass the third.
        logits, third = model(x), 3 - y - targets
        of = lambda c: logits.gather(1, c[:, None])[:, 0]  # noqa: B023, E731
        gap = of(y) - of(targets)
        least = gap / 2 if threat.kind == "linf" else gap / 2**0.5
        alone = of(third) <= (of(y) + of(targets)) / 2  # the third class lies below the meeting point
        distance = threat.distance(x_adv, x)
        assert alone.any()
        assert (distance >= least - 1e-12).all()
        assert (distance[alone] <= 1.02 * least[alone]).all()


def test_towards_a_class_any_other_class_will_do() -> None:
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    # On the way to class 3, whose plane is at 3 / 6, class 2 falls at 2 / 16.
    reach = torch.tensor([3])
    x_adv = FAB(steps=30).run(rival_planes(), x, Aim(zeros(1), reach), eps_of(0.6), 0)
    assert int(rival_planes()(x_adv).argmax(1)) != 0
    # Where class 3 itself is asked for, class 2 is in its way everywhere, and nothing on the way is better than the image.
    assert torch.equal(FAB(steps=30)(rival_planes(), x, zeros(1), threat=eps_of(0.6), seed=0, targets=reach), x)


class Coin(nn.Module):
    """Each look adds noise of its own to a score that rises along the pixels and is 0 at a mean of 0.5 + `far`."""

    def __init__(self, far: float) -> None:
        super().__init__()
        self.far = far

    def forward(self, x: Tensor) -> Tensor:
        score = 10 * (flat(x).mean(1) - 0.5 - self.far) + torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


@NORMS
@pytest.mark.parametrize("far", [0.04, 0.4], ids=["within", "beyond"])
def test_at_a_random_model_the_whole_radius_is_spent(threat: Any, far: float) -> None:
    x = torch.full((30, 1, 2, 2), 0.5, dtype=torch.float64)
    threat = threat.model_copy(update={"eps": 0.1 if threat.kind == "linf" else 0.2})  # corner or edge: a mean of 0.6
    lucky = FAB(steps=5)(Coin(far), x, zeros(30), threat=threat, seed=0)
    sober = FAB(steps=5, gradient=InputGradient(draws=50))(Coin(far), x, zeros(30), threat=threat, seed=0)
    torch.testing.assert_close(flat(sober).mean(1), torch.full((30,), 0.6).double())
    if far < 0.1:
        assert float(flat(lucky).mean()) < 0.56  # stops where a single look is won


def test_at_a_random_model_the_image_itself_is_kept_where_the_rest_is_worse() -> None:
    class Peak(nn.Module):
        """The lead is largest at the image, though below zero, and the slope lies."""

        def forward(self, x: Tensor) -> Tensor:
            p = flat(x).mean(1)
            score = -1 - 10 * (p - 0.5).detach().abs() + p - p.detach()
            return torch.stack([torch.zeros_like(score), score], 1)

    x = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    attack = FAB(steps=3, gradient=InputGradient(draws=2))
    assert torch.equal(attack(Peak(), x, zeros(2), threat=Linf(eps=0.1), seed=0), x)


@pytest.mark.parametrize("settings", [{}, {"early_stop": False}, {"variant": "untargeted"}], ids=str)
@NORMS
def test_the_size_of_the_batch_changes_no_bit(threat: Any, settings: dict[str, Any], images: Make) -> None:
    x = images(12)
    y = Curved()(x).argmax(1)
    attack = FAB(steps=6, restarts=2, classes=2, **settings)
    whole = attack(Curved(), x, y, threat=threat, seed=3)
    for size in (1, 5):
        parts = zip(x.split(size), y.split(size), strict=True)
        assert torch.equal(torch.cat([attack(Curved(), a, b, threat=threat, seed=3) for a, b in parts]), whole)
    assert not torch.equal(whole, x)


@NORMS
def test_a_batch_that_is_won_already_and_a_radius_of_zero_cost_one_look(threat: Any) -> None:
    x = torch.full((3, 2), 0.5, dtype=torch.float64)
    for attack in (FAB(), FAB(early_stop=False), FAB(variant="untargeted")):
        model = rival_planes()
        assert torch.equal(attack(model, x, zeros(3) + 1, threat=threat, seed=0), x)
        still = threat.model_copy(update={"eps": 0.0})
        assert torch.equal(attack(model, x, zeros(3), threat=still, seed=0), x)
        assert model.seen == [3, 3]


def test_the_loss_of_its_gradient_is_not_used(smooth: nn.Module, images: Make) -> None:
    x = images(6)
    y = smooth(x).argmax(1)
    by_default = FAB(steps=4)(smooth, x, y, threat=Linf(eps=0.05), seed=0)
    other = FAB(steps=4, gradient=InputGradient.parse({"loss": "dlr"}))(smooth, x, y, threat=Linf(eps=0.05), seed=0)
    assert InputGradient().loss == CrossEntropy()
    assert torch.equal(by_default, other)


@pytest.mark.parametrize("attack", [FAB(), FAB(variant="untargeted", steps=3, restarts=2, alpha_max=0.0, target="random")])
def test_json_round_trip(attack: FAB) -> None:
    back = Attack.parse(json.loads(json.dumps(attack.to_json())))
    assert back == attack
    assert hash(back) == hash(attack)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"restarts": 0}, {"classes": 0}, {"alpha_max": 1.1}, {"alpha_max": -0.1}, {"eta": 0.9}, {"beta": 0},
        {"beta": 1.1}, {"variant": "both"}, {"eps": 0.1},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "fab", **wrong})
