"""SA-PGD by hand and on models whose optimum is known; and attacks through a rule that remembers, here ASSG."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import APGD, CW, PGD, SAPGD, Attack, InputGradient, Margin
from snnguard.attacks.apgd import checkpoints
from snnguard.errors import RequestError
from snnguard.networks import build
from snnguard.neurons import ASSG, BPTT, HART, PDSG
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

UNCAPPED = InputGradient(loss=Margin(confidence=1e9))
NORMS = pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.2)], ids=["linf", "l2"])


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def weights() -> Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Scored(nn.Module):
    """Keeps the images that it is asked about; `score` gives the margin of class 0 from flat pixels."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        score = self.score(x.flatten(1))
        return torch.stack([torch.zeros_like(score), score], 1)


@NORMS
def test_it_starts_at_distance_eps_from_another_point_in_every_run(threat: Any, images: Make) -> None:
    x, starts = images(20), []
    for seed in (0, 1):
        model = Scored(lambda flat: -flat.square().sum(1) - 9)
        SAPGD(steps=2, restarts=2)(model, x, zeros(20), threat=threat, seed=seed)
        assert len(model.asked) == 6
        starts += [model.asked[0], model.asked[3]]
    for start in starts:
        torch.testing.assert_close(threat.distance(start, x), torch.full((20,), threat.eps, dtype=x.dtype))
        assert abs(float((start - x).mean())) < 0.02
        assert len((start - x).flatten(1).unique(dim=0)) == 20
    assert len({start.sum().item() for start in starts}) == 4


def test_a_hundred_steps_of_one_pixel_on_numbers() -> None:
    # One pixel: g / mean|g| is its sign, g^2 / mean(g^2) is 1. The loss peaks at 0.37; the ball is [0.2, 0.8].
    model, x = Scored(lambda flat: -(flat[:, 0] - 0.37).abs()), torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    x_adv = SAPGD(gradient=UNCAPPED)(model, x, zeros(1), threat=Linf(eps=0.3), seed=0)
    asked = [float(value) for value in model.asked]
    assert len(asked) == 101
    at, m, v, eta = asked[0], 0.0, 0.0, 0.3
    assert at in (pytest.approx(0.2), pytest.approx(0.8))
    for k in range(1, 101):
        m, v = 0.5 * m + (1 if at < 0.37 else -1), 0.8 * v + 1
        at = min(0.8, max(0.2, at + max(-eta, min(eta, eta * m / v**0.5))))
        assert asked[k] == pytest.approx(at, abs=1e-9)
        eta = eta / 2 if k in (22, 41, 57, 70, 80, 87, 93, 99) else eta
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert float(x_adv) == min(asked, key=lambda value: abs(value - 0.37))


CENTRE = torch.tensor([0.58, 0.4, 0.52, 0.45], dtype=torch.float64)
CURVE = torch.tensor([-1.0, 3.0, -2.0, -0.5], dtype=torch.float64)


def bowl(flat: Tensor) -> Tensor:
    """Its gradient is 2 CURVE (x - CENTRE), and turns round on the way."""
    return (CURVE * (flat - CENTRE) ** 2).sum(1)


def slope(at: Tensor) -> Tensor:
    return 2 * CURVE * (at - CENTRE)


def test_two_steps_of_four_pixels_by_hand() -> None:
    model, x = Scored(bowl), torch.full((1, 4), 0.5, dtype=torch.float64)
    SAPGD(steps=9, gradient=UNCAPPED)(model, x, zeros(1), threat=Linf(eps=0.3), seed=0)
    start, first, second = (asked[0] for asked in model.asked[:3])
    # The first step divides g by |g|, up to the ratio of the two means, which is at least 1: eta in every pixel.
    g = slope(start)
    torch.testing.assert_close(first, (start + 0.3 * g.sign()).clamp(0.2, 0.8))
    h = slope(first)
    m = 0.5 * g / g.abs().mean() + h / h.abs().mean()
    v = 0.8 * g**2 / g.square().mean() + h**2 / h.square().mean()
    share = (m / v.sqrt()).clamp(-1, 1)
    assert (share.abs() < 0.99).any()  # a pixel that turns takes a shorter step
    assert (share.abs() == 1).any()
    assert checkpoints(9)[:2] == [1, 2]  # so eta is halved already
    torch.testing.assert_close(second, (first + 0.15 * share).clamp(0.2, 0.8))


def test_two_steps_in_l2_by_hand() -> None:
    model, x, threat = Scored(bowl), torch.full((1, 4), 0.5, dtype=torch.float64), L2(eps=0.3)
    SAPGD(steps=30, gradient=UNCAPPED)(model, x, zeros(1), threat=threat, seed=0)
    start, first, second = (asked[0] for asked in model.asked[:3])

    def ball(at: Tensor) -> Tensor:
        return 0.5 + (at - 0.5) * min(1.0, 0.3 / float((at - 0.5).norm()))

    g = slope(start) / slope(start).norm()
    torch.testing.assert_close(first, ball(start + 0.3 * g))
    h = slope(first) / slope(first).norm()
    step = (0.5 * g + h) / 1.8**0.5
    torch.testing.assert_close(second, ball(first + 0.3 * step / max(1.0, float(step.norm()))))


@NORMS
def test_it_reaches_the_optimum_of_a_linear_model(threat: Any, linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    model = linear(torch.stack([torch.zeros_like(w), w]))
    rise = (SAPGD(gradient=UNCAPPED)(model, x, zeros(5), threat=threat, seed=1) - x).flatten(1) @ w
    best = threat.eps * (w.abs().sum() if threat.kind == "linf" else w.norm())
    torch.testing.assert_close(rise, best.expand(5), rtol=1e-6, atol=0)


@NORMS
def test_the_size_of_the_gradient_does_not_matter(threat: Any, images: Make) -> None:
    # In float32 the squares of the smaller one are zero.
    w, x = weights().float(), images(4).float()
    found = [
        SAPGD(steps=20, gradient=UNCAPPED)(Scored(lambda flat, f=factor: f * torch.sin(9 * flat) @ w), x, zeros(4),
                                           threat=threat, seed=0)
        for factor in (1.0, 1e-28)
    ]  # fmt: skip
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)


@NORMS
def test_without_a_gradient_it_stays_at_its_start(threat: Any, images: Make) -> None:
    x = images(3)
    model = Scored(lambda flat: flat.sum(1) * 0 - 1)
    x_adv = SAPGD(steps=30)(model, x, zeros(3), threat=threat, seed=0)
    assert torch.equal(x_adv, model.asked[0])
    assert all(torch.equal(asked, x_adv) for asked in model.asked)


@NORMS
def test_a_pixel_without_gradient_stays_and_the_others_go_on(threat: Any, images: Make) -> None:
    model, x = Scored(lambda flat: flat[:, 0] * flat[:, 1] - 2), images(3)
    SAPGD(steps=5, gradient=UNCAPPED)(model, x, zeros(3), threat=threat, seed=0)
    start, first = model.asked[0].flatten(1), model.asked[1].flatten(1)
    if threat.kind == "linf":  # in L2 the projection moves it
        assert torch.equal(start[:, 2:], first[:, 2:])
    assert (first[:, :2].sum(1) > start[:, :2].sum(1)).all()


class Island(nn.Module):
    """In a band misclassified, at cross-entropy 0.74; beside it right, but at about log 3 = 1.1, rising to the right."""

    def forward(self, x: Tensor) -> Tensor:
        pixel = x.flatten(1)[:, :1]
        inside, outside = torch.tensor([[0.0, 0.1, -50.0]]).to(x), torch.tensor([[0.02, 0.0, 0.0]]).to(x)
        rise = torch.tensor([[0.0, 1.0, 0.0]]).to(x) * (pixel - pixel.detach())
        return torch.where((pixel - 0.55).abs() < 0.02, inside, outside) + rise


def test_a_misclassified_point_counts_more_than_a_higher_loss_unless_the_model_is_random() -> None:
    x = torch.full((20, 1, 1, 2), 0.55, dtype=torch.float64)
    x[:, 0, 0, 1] = torch.linspace(0.3, 0.7, 20)  # it only makes the starts differ: some of them meet the band
    sure = SAPGD(steps=30)(Island(), x, zeros(20), threat=Linf(eps=0.1), seed=0)
    fell = Island()(sure).argmax(1) == 1
    assert 0 < fell.sum() < 20
    random = SAPGD(steps=30, gradient=InputGradient(draws=2))(Island(), x, zeros(20), threat=Linf(eps=0.1), seed=0)
    assert (Island()(random).argmax(1) == 0).all()
    assert torch.equal(random[~fell], sure[~fell])


class Coin(nn.Module):
    """Each look adds noise of its own to the score, whose mean rises along x and stays below zero."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).sum(1) - 2.5 + 3 * torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


def test_with_draws_no_single_look_counts_as_a_success() -> None:
    x = torch.full((40, 1, 2, 2), 0.5, dtype=torch.float64)
    lucky = SAPGD(steps=10, early_stop=True)(Coin(), x, zeros(40), threat=Linf(eps=0.1), seed=0)
    sober = SAPGD(steps=10, early_stop=True, gradient=InputGradient(draws=200))(
        Coin(), x, zeros(40), threat=Linf(eps=0.1), seed=0
    )
    assert float((sober - x).flatten(1).mean()) > 0.07
    assert float((lucky - x).flatten(1).mean()) < 0.07


@NORMS
def test_early_stop_takes_what_has_fallen_out_of_the_batch(threat: Any, smooth: nn.Module, images: Make) -> None:
    x = images(200)
    y = smooth(x).argmax(1)
    sizes: list[int] = []
    handle = smooth.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    stopped = SAPGD(steps=12, early_stop=True)(smooth, x, y, threat=threat, seed=0)
    handle.remove()
    full = SAPGD(steps=12)(smooth, x, y, threat=threat, seed=0)
    fallen = smooth(stopped).argmax(1) != y
    assert torch.equal(fallen, smooth(full).argmax(1) != y)
    assert 0 < fallen.sum() < 200
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3
    assert sizes[-1] <= 200 - int(fallen.sum()) + 50


def test_a_batch_that_is_wholly_won_at_its_start_is_asked_about_once(images: Make) -> None:
    model, x = Scored(lambda flat: flat.sum(1)), images(3)
    SAPGD(steps=9, early_stop=True, restarts=3)(model, x, zeros(3), threat=Linf(eps=0.1), seed=0)
    assert [len(asked) for asked in model.asked] == [3]
    model.asked.clear()
    x_adv = SAPGD(steps=9, restarts=3)(model, x, zeros(3), threat=Linf(eps=0.1), seed=0)
    assert len(model.asked) == 10  # one run goes on for the highest loss; no restart for what is won
    torch.testing.assert_close(x_adv, x + 0.1, atol=1e-3, rtol=0)  # eta has been halved nine times


def test_restarts_never_lose_a_success(smooth: nn.Module, images: Make) -> None:
    x, wins = images(150), []
    y = smooth(x).argmax(1)
    for restarts in (1, 3):
        x_adv = SAPGD(steps=4, restarts=restarts)(smooth, x, y, threat=Linf(eps=0.1), seed=0)
        wins.append(smooth(x_adv).argmax(1) != y)
    assert (wins[1] | ~wins[0]).all()
    assert 0 < wins[0].sum() < wins[1].sum() <= 150


class Curved(nn.Module):
    """Logits whose arithmetic is the same for an image in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        w = torch.randn(4, x[0].numel(), generator=generator, dtype=x.dtype)
        return (torch.sin(5 * x.flatten(1))[:, None, :] * w).sum(-1)


@NORMS
@pytest.mark.parametrize("early_stop", [False, True])
def test_the_size_of_the_batch_changes_no_bit(threat: Any, early_stop: bool, images: Make) -> None:
    x, y = images(12), torch.arange(12) % 4
    attack = SAPGD(steps=20, restarts=2, early_stop=early_stop)
    whole = attack(Curved(), x, y, threat=threat, seed=3)
    for size in (1, 5):
        parts = [attack(Curved(), a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(Curved(), x, y, threat=threat, seed=4), whole)


def test_an_image_at_the_edge_of_the_range(linear: Make) -> None:
    w = weights()
    x = (weights() > 0).double().reshape(1, 2, 2, 2)  # no pixel can go where the gradient points
    x_adv = SAPGD(gradient=UNCAPPED)(linear(torch.stack([w * 0, w])), x, zeros(1), threat=Linf(eps=0.1), seed=0)
    torch.testing.assert_close(x_adv, x)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"momentum": 1}, {"memory": 1}, {"restarts": 0}, {"eta": 1}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "sa-pgd", **wrong})


def test_json_with_its_rule() -> None:
    attack = SAPGD(gradient=InputGradient(rule=ASSG(share=0.41)))
    back = Attack.parse(json.loads(json.dumps(attack.to_json())))
    assert back == attack
    assert hash(back) == hash(attack)


@pytest.fixture(scope="module")
def spiking() -> nn.Module:
    """A small spiking network in float64 in which every layer fires and no layer fires always."""
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=3, seed=1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(2 if isinstance(module, nn.Conv2d) else 6)
    return model.double().eval()


STATEFUL = {
    "pgd": PGD(steps=8, early_stop=True),
    "apgd": APGD(steps=10, early_stop=True),
    "sa-pgd": SAPGD(steps=8, early_stop=True, restarts=2),
    "sa-pgd, all": SAPGD(steps=4),
    "cw": CW(steps=3, learning_rate=0.1, searches=1),
}
CASES = [*((name, ASSG()) for name in STATEFUL), ("sa-pgd", HART()), ("sa-pgd", PDSG())]


@pytest.mark.parametrize("threat", [Linf(eps=0.01), L2(eps=0.08)], ids=["linf", "l2"])
@pytest.mark.parametrize(("name", "rule"), CASES, ids=str)
def test_what_a_rule_remembers_of_a_sample_does_not_depend_on_the_batch(
    name: str, rule: Any, threat: Any, spiking: nn.Module
) -> None:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y, attack = spiking(x).argmax(1), STATEFUL[name].with_rule(rule)
    sizes: list[int] = []
    handle = spiking.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    together = attack(spiking, x, y, threat=threat, seed=1)
    handle.remove()
    if getattr(attack, "early_stop", False):
        assert len({*sizes}) > 2  # else hardly anybody left and nothing was tried
    for size in (1, 3):
        parts = [attack(spiking, a, b, threat=threat, seed=1) for a, b in zip(x.split(size), y.split(size), strict=True)]
        torch.testing.assert_close(torch.cat(parts), together, atol=1e-10, rtol=0)


def test_the_memory_reaches_from_step_to_step(spiking: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y, attack = spiking(x).argmax(1), SAPGD(steps=6, gradient=InputGradient(rule=ASSG()))
    with_memory = attack(spiking, x, y, threat=Linf(eps=0.1), seed=1)
    monkeypatch.setattr(ASSG, "at", lambda self, *_: self)
    assert not torch.equal(attack(spiking, x, y, threat=Linf(eps=0.1), seed=1), with_memory)
    assert isinstance(attack.with_rule(BPTT()).gradient.rule, BPTT)
