"""PGD and its settings, against closed forms and iterations written out by hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, Attack, InputGradient, Margin, bim, fgsm, mifgsm, rfgsm
from snnguard.errors import RequestError
from snnguard.neurons import BPTT, Triangle
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

UNCAPPED = InputGradient(loss=Margin(confidence=1e9))


def two_classes(linear: Make, w: Tensor) -> nn.Module:
    """The margin of class 0 is w.x: an attacker of class 0 raises w.x."""
    return linear(torch.stack([torch.zeros_like(w), w]))


def weights(seed: int = 0) -> Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


REACH_THE_EDGE = {
    "fgsm": fgsm(gradient=UNCAPPED),
    "bim": bim(gradient=UNCAPPED),
    "mifgsm": mifgsm(gradient=UNCAPPED),
    "mifgsm-4": mifgsm(steps=4, gradient=UNCAPPED),
    "pgd": PGD(steps=10, gradient=UNCAPPED),
    "pgd, raw step": PGD(steps=10, step_size=0.03, gradient=UNCAPPED),
}


@pytest.mark.parametrize("name", REACH_THE_EDGE)
def test_the_loss_rises_by_the_dual_norm_on_a_linear_model(name: str, linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    model = two_classes(linear, w)
    rise = (REACH_THE_EDGE[name](model, x, zeros(5), threat=Linf(eps=0.1), seed=1) - x).flatten(1) @ w
    torch.testing.assert_close(rise, (0.1 * w.abs().sum()).expand(5), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["fgsm", "bim", "mifgsm", "mifgsm-4"])
def test_the_same_in_l2(name: str, linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    x_adv = REACH_THE_EDGE[name](two_classes(linear, w), x, zeros(5), threat=L2(eps=0.1), seed=1)
    torch.testing.assert_close((x_adv - x).flatten(1) @ w, (0.1 * w.norm()).expand(5), rtol=1e-9, atol=0)


def test_pgd_in_l2_comes_as_close_as_one_likes(linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    x_adv = PGD(steps=200, gradient=UNCAPPED)(two_classes(linear, w), x, zeros(5), threat=L2(eps=0.1), seed=1)
    torch.testing.assert_close((x_adv - x).flatten(1) @ w, (0.1 * w.norm()).expand(5), rtol=1e-6, atol=0)


def test_cross_entropy_rises_as_the_closed_form_says(linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    model = two_classes(linear, w)
    x_adv = fgsm()(model, x, zeros(5), threat=Linf(eps=0.1), seed=1)
    logits = model(x_adv)
    loss = logits.logsumexp(1) - logits[:, 0]
    # -log sigmoid(-(w.x + eps ||w||_1)), the largest value in the ball
    torch.testing.assert_close(loss, torch.nn.functional.softplus(x.flatten(1) @ w + 0.1 * w.abs().sum()))


def test_rfgsm_is_half_a_step_of_noise_and_half_a_step_of_gradient(linear: Make, images: Make) -> None:
    w, x = weights(), images(50)
    w[3] = 0  # a pixel without gradient keeps its noise
    moved = (rfgsm(gradient=UNCAPPED)(two_classes(linear, w), x, zeros(50), threat=Linf(eps=0.1), seed=1) - x).flatten(1)
    moving = [i for i in range(8) if i != 3]
    # +-eps/2 of noise, then eps/2 along sign(w): nothing, or eps along sign(w); each for about half of the pixels.
    share = moved[:, moving] / (0.1 * w.sign()[moving])
    agrees = (share - 1).abs() < 1e-9
    assert (agrees | (share.abs() < 1e-9)).all()
    assert 0.35 < agrees.double().mean() < 0.65
    torch.testing.assert_close(moved[:, 3].abs(), torch.full((50,), 0.05, dtype=x.dtype))
    assert 10 < int((moved[:, 3] > 0).sum()) < 40


def test_bim_measures_its_ball_from_the_original_image(linear: Make) -> None:
    # Several published codes clamp from below at x_adv - eps, which lets a pixel sink by steps * step_size.
    w = -torch.ones(8, dtype=torch.float64)
    x = torch.full((2, 2, 2, 2), 0.5, dtype=torch.float64)
    x_adv = bim(steps=10, step_size=0.05, gradient=UNCAPPED)(two_classes(linear, w), x, zeros(2), threat=Linf(eps=0.1), seed=1)
    torch.testing.assert_close(x_adv, torch.full_like(x, 0.4))


def test_the_first_iterates_of_bim_by_hand(smooth: nn.Module, images: Make) -> None:
    x, y = images(4), torch.arange(4)
    for steps in (1, 2, 3):
        by_hand = x.clone()
        for _ in range(steps):
            by_hand.requires_grad_()
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(smooth(by_hand), y, reduction="sum"), by_hand)
            by_hand = torch.maximum(torch.minimum(by_hand.detach() + 0.04 * g.sign(), x + 0.1), x - 0.1)
        attacked = bim(steps=steps, step_size=0.04)(smooth, x, y, threat=Linf(eps=0.1), seed=0)
        torch.testing.assert_close(attacked, by_hand, rtol=0, atol=1e-12)


class Bowl(nn.Module):
    """Logits (0, q(x)) with q quadratic, so that the gradient 2 a (x - centre) turns round on the way."""

    centre = torch.tensor([0.58, 0.4], dtype=torch.float64)
    a = torch.tensor([-1.0, 3.0], dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        q = (self.a * (x.flatten(1) - self.centre) ** 2).sum(1)
        return torch.stack([torch.zeros_like(q), q], 1)


def test_two_steps_of_mifgsm_by_hand() -> None:
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    attack = mifgsm(steps=2, step_size=0.1, momentum=0.5, gradient=UNCAPPED)
    x_adv = attack(Bowl(), x, zeros(1), threat=Linf(eps=0.3), seed=0)
    # g1 = (-2(.5-.58), 6(.5-.4)) = (.16, .6), mean .38, m1 = (.4211, 1.5789), x1 = (.6, .6)
    # g2 = (-2(.6-.58), 6(.6-.4)) = (-.04, 1.2), mean .62, m2 = .5 m1 + g2/.62 = (.2105 - .0645, ...) = (+, +)
    torch.testing.assert_close(x_adv, torch.tensor([[0.7, 0.7]], dtype=torch.float64))
    # Without momentum the first pixel turns back at the second step.
    plain = bim(steps=2, step_size=0.1, gradient=UNCAPPED)(Bowl(), x, zeros(1), threat=Linf(eps=0.3), seed=0)
    torch.testing.assert_close(plain, torch.tensor([[0.5, 0.7]], dtype=torch.float64))


def test_momentum_normalises_by_the_mean_so_small_gradients_count_as_much() -> None:
    x = torch.full((2, 2), 0.5, dtype=torch.float64)
    attack = mifgsm(steps=2, momentum=0.5, step_size=0.1, gradient=UNCAPPED)

    class Scaled(Bowl):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.tensor([[1.0], [1e-9]], dtype=torch.float64)

    x_adv = attack(Scaled(), x, zeros(2), threat=Linf(eps=0.3), seed=0)
    torch.testing.assert_close(x_adv[0], x_adv[1])


def test_the_default_step_of_mifgsm_is_the_radius_over_the_steps() -> None:
    assert mifgsm(steps=4).step_fraction == 0.25
    assert mifgsm(steps=10).step_fraction == 0.1
    assert mifgsm(step_size=0.01).step_size == 0.01


@pytest.mark.parametrize("random_start", [False, True])
def test_early_stop_is_never_weaker_and_finds_what_the_last_iterate_loses(
    random_start: bool, smooth: nn.Module, images: Make
) -> None:
    x = images(200)
    y = smooth(x).argmax(1)
    # A step of three radii jumps between corners, so that plain PGD leaves successes behind.
    settings = {"steps": 5, "step_fraction": 3.0, "random_start": random_start}
    for eps in (0.05, 0.1, 0.2):
        fallen = {}
        for early in (False, True):
            x_adv = PGD(early_stop=early, **settings)(smooth, x, y, threat=Linf(eps=eps), seed=1)
            fallen[early] = smooth(x_adv).argmax(1) != y
        assert (fallen[True] | ~fallen[False]).all()
        assert fallen[True].any()


def test_early_stop_keeps_a_success_on_the_way() -> None:
    class Passing(nn.Module):
        """Misclassified only between 0.54 and 0.66, where the gradient still points upwards."""

        def forward(self, x: Tensor) -> Tensor:
            p = x[:, :1]
            inside = ((p > 0.54) & (p < 0.66)).to(x)
            return torch.cat([-p, 4 * inside - 2 + p * 0], 1)

    x = torch.full((3, 1), 0.5, dtype=torch.float64)
    settings = {"steps": 3, "step_size": 0.1, "random_start": False}
    plain = PGD(**settings)(Passing(), x, zeros(3), threat=Linf(eps=0.3), seed=0)
    stopped = PGD(early_stop=True, **settings)(Passing(), x, zeros(3), threat=Linf(eps=0.3), seed=0)
    torch.testing.assert_close(plain, torch.full_like(x, 0.8))
    torch.testing.assert_close(stopped, torch.full_like(x, 0.6))


def test_places_of_lost_images_are_taken_by_others(linear: Make) -> None:
    model, sizes = linear(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, -0.5])), list[int]()
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    x = torch.tensor([0.55, 0.95, 0.55, 0.95, 0.55, 0.95])[:, None]  # every second one is lost at the first step
    attack = PGD(steps=4, step_size=0.1, random_start=False, early_stop=True)
    x_adv = attack(model, x, torch.ones(6, dtype=torch.int64), threat=Linf(eps=0.5), seed=0, batch_size=2)
    assert sizes == [2, 2, 2] * 2 + [2, 1] * 2
    torch.testing.assert_close(x_adv[:, 0], torch.tensor([0.45, 0.55] * 3))


def test_early_stop_leaves_what_is_already_wrong_alone(smooth: nn.Module, images: Make) -> None:
    x = images(6)
    y = (smooth(x).argmax(1) + 1) % 4
    x_adv = PGD(random_start=False, early_stop=True)(smooth, x, y, threat=Linf(eps=0.1), seed=1)
    assert torch.equal(x_adv, x)


@pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.4)])
def test_the_random_start_fills_the_ball_and_differs_between_seeds(threat: Linf | L2, images: Make) -> None:
    x = images(300, margin=0.45)
    flat = lambda x: x.flatten(1)[:, :2] * 0  # noqa: E731
    start = PGD(steps=1)(flat, x, zeros(300), threat=threat, seed=1) - x
    size = start.flatten(1)
    if isinstance(threat, Linf):
        assert abs(size.mean()) < 4 * 0.1 / (3 * size.numel()) ** 0.5
        assert size.abs().max() > 0.099
    else:
        # Uniform in a ball of 8 dimensions: (r / eps)^8 is uniform, so its mean is 1/2.
        assert abs((size.norm(dim=1) / 0.4).pow(8).mean() - 0.5) < 4 / (12 * 300) ** 0.5
    assert not torch.equal(PGD(steps=1)(flat, x, zeros(300), threat=threat, seed=2) - x, start)


def test_one_step_size_only() -> None:
    for make in (PGD, bim, mifgsm):
        with pytest.raises(ValueError, match="not both"):
            make(step_size=0.01, step_fraction=0.5)
    for wrong in (
        {"steps": 0},
        {"step_size": -0.1},
        {"step_fraction": 0},
        {"momentum": -1},
        {"start": "gaussian"},
        {"stepsize": 1},
    ):
        with pytest.raises(RequestError):
            Attack.parse({"kind": "pgd", **wrong})
    with pytest.raises(RequestError):
        Attack.parse({"kind": "mifgsm", "steps": 0})


FULL = PGD(steps=7, step_size=0.01, random_start=True, gradient=InputGradient(rule=BPTT(surrogate=Triangle(gamma=1.0))))


@pytest.mark.parametrize(
    "attack", [FULL, fgsm(), rfgsm(), bim(step_size=0.01), mifgsm(), PGD(target="random", early_stop=True)]
)
def test_json_round_trip(attack: PGD) -> None:
    back = Attack.parse(json.loads(json.dumps(attack.to_json())))
    assert back == attack
    assert hash(back) == hash(attack)
    assert isinstance(back, PGD)


def test_the_full_form_in_words() -> None:
    assert FULL.to_json()["gradient"]["rule"] == {"kind": "bptt", "surrogate": {"kind": "triangle", "gamma": 1.0}}
    assert (
        Attack.parse(
            {"kind": "pgd", "steps": 7, "step_size": 0.01, "gradient": {"rule": {"kind": "bptt", "surrogate": "triangle"}}}
        )
        == FULL
    )


def test_the_step_scales_with_the_radius_unless_it_is_raw(linear: Make) -> None:
    x, w = torch.full((1, 2, 2, 2), 0.5, dtype=torch.float64), weights()
    for eps in (0.1, 0.4):
        one = bim(steps=1, step_fraction=0.25)(two_classes(linear, w), x, zeros(1), threat=Linf(eps=eps), seed=0)
        torch.testing.assert_close((one - x).abs(), torch.full_like(x, 0.25 * eps))
        raw = bim(steps=1, step_size=0.02)(two_classes(linear, w), x, zeros(1), threat=Linf(eps=eps), seed=0)
        torch.testing.assert_close((raw - x).abs(), torch.full_like(x, 0.02))


def test_tiny_gradients_still_move(linear: Make, images: Make) -> None:
    x, w = images(2), weights() * 1e-40
    x_adv = fgsm(gradient=UNCAPPED)(two_classes(linear, w), x, zeros(2), threat=Linf(eps=0.1), seed=0)
    torch.testing.assert_close((x_adv - x).abs(), torch.full_like(x, 0.1))
    slow = mifgsm(gradient=UNCAPPED)(two_classes(linear, w), x, zeros(2), threat=Linf(eps=0.1), seed=0)
    torch.testing.assert_close((slow - x).abs(), torch.full_like(x, 0.1))
