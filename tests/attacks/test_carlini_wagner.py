"""CW against the geometry of a linear model, and against the faults of the published codes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import CW, Attack
from snnguard.threat import Linf

Make = Callable[..., Any]

ANY = Linf(eps=0.0)  # CW does not look at eps


def plane(linear: Make, offset: float = 0.0, lift: float = 0.0) -> tuple[nn.Module, Tensor, float]:
    """Logits (lift, w.x + b + lift), class 0 on one side of the plane w.x + b = 0."""
    w = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b = float(-(w * 0.5).sum()) + offset
    weight, bias = torch.stack([0 * w, w]), torch.tensor([lift, b + lift], dtype=torch.float64)
    return linear(weight, bias), w, b


def distances(w: Tensor, b: float, x: Tensor) -> Tensor:
    return (x.flatten(1) @ w + b).abs() / w.norm()


THOROUGH = CW(steps=150, learning_rate=0.02, searches=8, c=0.1)


def test_finds_the_nearest_point_of_the_plane(linear: Make, images: Make) -> None:
    model, w, b = plane(linear)
    x = images(10)
    y = model(x).argmax(1)
    x_adv = THOROUGH(model, x, y, threat=ANY, seed=0)
    assert (model(x_adv).argmax(1) != y).all()
    found, least = (x_adv - x).flatten(1).norm(dim=1), distances(w, b, x)
    assert (found >= least).all()
    assert (found <= 1.1 * least + 2e-3).all()


def test_negative_logits_change_nothing(linear: Make, images: Make) -> None:
    # Lifting all logits by the same amount moves no boundary; the masked runner-up of the published codes sees one at 0.
    model, *_ = plane(linear)
    sunk, *_ = plane(linear, lift=-100.0)
    x = images(10)
    y = model(x).argmax(1)
    torch.testing.assert_close(
        THOROUGH(sunk, x, y, threat=ANY, seed=0), THOROUGH(model, x, y, threat=ANY, seed=0), rtol=0, atol=1e-6
    )


def test_targeted_reaches_the_target_and_no_farther_than_needed(linear: Make, images: Make) -> None:
    model, x = linear(torch.eye(3, 8, dtype=torch.float64)), images(12)
    y = model(x).argmax(1)
    for shift in (1, 2):
        aim = (y + shift) % 3
        x_adv = THOROUGH(model, x, y, threat=ANY, seed=0, targets=aim)
        assert torch.equal(model(x_adv).argmax(1), aim)
        # Two pixels must meet: at least the gap between the two logits over sqrt(2).
        gap = model(x).gather(1, y[:, None]) - model(x).gather(1, aim[:, None])
        found = (x_adv - x).flatten(1).norm(dim=1)
        assert (found >= gap[:, 0] / 2**0.5).all()
        assert found.max() < 0.5


def test_confidence_asks_for_a_margin(linear: Make, images: Make) -> None:
    model, w, b = plane(linear)
    x = images(10)
    y = model(x).argmax(1)
    x_adv = THOROUGH.model_copy(update={"confidence": 0.5})(model, x, y, threat=ANY, seed=0)
    logits = model(x_adv)
    margin = logits.gather(1, 1 - y[:, None]) - logits.gather(1, y[:, None])
    assert (margin >= 0.5 - 1e-9).all()
    least = distances(w, b, x) + 0.5 / w.norm()
    found = (x_adv - x).flatten(1).norm(dim=1)
    assert (found >= least - 1e-9).all()
    assert (found <= 1.1 * least + 2e-3).all()


def test_pixels_at_both_ends_of_the_range_can_move(linear: Make) -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(1, 4)
    model = linear(
        torch.tensor([[0.0] * 8, [1.0, -1.0] * 4], dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    )
    y = torch.tensor([0])  # w.x + b = -4 + 2 < 0; the plane is 2 / sqrt(8) away
    x_adv = CW(steps=300, learning_rate=0.1, c=10.0)(model, x, y, threat=ANY, seed=0)
    assert model(x_adv).argmax(1).item() == 1
    assert (x_adv - x).abs().min() > 0.05
    assert torch.isfinite(x_adv).all()


def test_a_sample_that_does_not_break_comes_back_unchanged(linear: Make, images: Make) -> None:
    near, _, _ = plane(linear)
    far, _, _ = plane(linear, offset=-1000.0)
    x = images(6)
    assert torch.equal(CW(steps=5)(far, x, torch.zeros(6, dtype=torch.int64), threat=ANY, seed=0), x)
    # In one batch: those that break move, the others keep every bit.
    y = near(x).argmax(1)
    hard = CW(steps=6, learning_rate=0.01, c=5.0)
    x_adv = hard(near, x, y, threat=ANY, seed=0)
    broken = near(x_adv).argmax(1) != y
    assert torch.equal(x_adv[~broken], x[~broken])
    assert not torch.equal(x_adv[broken], x[broken]) or not broken.any()


def test_results_do_not_depend_on_the_batch(smooth: nn.Module, images: Make) -> None:
    x, attack = images(6), CW(steps=20, learning_rate=0.05, c=2.0, searches=3)
    y = smooth(x).argmax(1)
    together = attack(smooth, x, y, threat=ANY, seed=0)
    assert (smooth(together).argmax(1) != y).any()
    for i in range(6):
        torch.testing.assert_close(
            attack(smooth, x[i : i + 1], y[i : i + 1], threat=ANY, seed=0)[0], together[i], rtol=0, atol=1e-10
        )


def test_searching_never_ends_farther_away_and_breaks_more(smooth: nn.Module, images: Make) -> None:
    x = images(10)
    y = smooth(x).argmax(1)
    length = []
    for searches in (0, 2, 6):
        x_adv = CW(steps=40, learning_rate=0.03, c=0.01, searches=searches)(smooth, x, y, threat=ANY, seed=0)
        broken = smooth(x_adv).argmax(1) != y
        length.append(torch.where(broken, (x_adv - x).flatten(1).norm(dim=1), torch.inf))
    assert (length[1] <= length[0]).all()
    assert (length[2] <= length[1]).all()
    assert torch.isfinite(length[2]).all()
    assert not torch.isfinite(length[0]).all()


def test_the_path_is_that_of_pytorchs_adam_on_the_objective_in_tanh_space(smooth: nn.Module, images: Make) -> None:
    x, visited = images(3, margin=0.1), []
    y = smooth(x).argmax(1)

    def watched(x: Tensor) -> Tensor:
        visited.append(x.detach().clone())
        return smooth(x)

    CW(steps=12, learning_rate=0.1, c=0.7)(watched, x, y, threat=ANY, seed=0)
    w = (2 * x - 1).atanh().requires_grad_()
    adam = torch.optim.Adam([w], lr=0.1)
    for seen in visited:
        x_adv = (w.tanh() + 1) / 2
        torch.testing.assert_close(seen, x_adv.detach(), rtol=0, atol=1e-9)
        logits = smooth(x_adv)
        others = logits.masked_fill(nn.functional.one_hot(y, 4).bool(), -1e9).amax(1)
        f = (logits.gather(1, y[:, None])[:, 0] - others).clamp_min(0)
        adam.zero_grad()
        ((x_adv - x).square().sum() + 0.7 * f.sum()).backward()
        adam.step()
    assert len(visited) == 13


def test_one_step_by_hand() -> None:
    # One pixel at 0.5 (w = 0, t = 0), f = z_0 - z_1 = 0.02 - (x - 0.5), df/dx = -1, c = 1, half = 1/2:
    # slope = c * (-1) * 1/2; Adam's first step is -lr * sign(slope) = +lr, so x = 0.5 + tanh(lr) / 2.
    model = lambda x: torch.cat([torch.full_like(x, 0.52), x], 1)  # noqa: E731
    x = torch.full((1, 1), 0.5, dtype=torch.float64)
    x_adv = CW(steps=1, c=1.0, learning_rate=0.1)(model, x, torch.tensor([0]), threat=ANY, seed=0)
    torch.testing.assert_close(x_adv, 0.5 + torch.tanh(torch.tensor([[0.1]], dtype=torch.float64)) / 2, rtol=1e-6, atol=0)


def test_another_range_only_rescales() -> None:
    model = lambda x: torch.cat([torch.full_like(x, 0.1), x], 1)  # noqa: E731
    x = torch.zeros(1, 1, dtype=torch.float64)
    x_adv = CW(steps=20, c=5.0, learning_rate=0.05)(model, x, torch.tensor([0]), threat=Linf(eps=0, low=-2, high=2), seed=0)
    assert 0.1 < x_adv.item() < 0.25


@pytest.mark.parametrize("attack", [CW(), CW(searches=2, target="least-likely")])
def test_is_reported_as_unbounded_and_round_trips(attack: CW) -> None:
    assert attack.bounded is False
    assert Attack.parse(attack.to_json()) == attack
