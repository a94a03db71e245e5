"""SR against the input gradient it stands for, its own gradient against autograd on the formula, and what it leaves alone."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snnguard
from snnguard import rng
from snnguard.data import fake
from snnguard.defenses import Batch, Defense, Stack, Step
from snnguard.defenses.sr import SR, confidence
from snnguard.layers import TDBN
from snnguard.networks import Network, build, construct
from snnguard.training import SGD, Training, fit

DOUBLE = torch.float64
Y = torch.tensor([0, 2, 1, 1, 0, 2])


@pytest.fixture
def smooth() -> nn.Module:
    """A smooth function of 4 pixels with 3 classes, its logits a few units apart."""
    with rng.scope(4):
        model = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 3)).double()
        with torch.no_grad():
            model[0].weight.mul_(3)
            model[2].weight.mul_(3)
    return model


def pixels(n: int = 6) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)


def penalty(defense: Defense, model: nn.Module, x: Tensor, y: Tensor, progress: float = 0.5) -> Tensor:
    step = Step(progress=progress, seed=7, membranes={})
    term = defense.penalty(model, Batch(x=x, y=y, clean=x), model(x), step)
    assert term is not None
    return term


def f(logits: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    """The published form of f, with the exponentials written out."""
    own, other = (logits.gather(1, k[:, None])[:, 0].exp() for k in (y, rival))
    return own / (own + other)


def rivals(logits: Tensor, y: Tensor) -> Tensor:
    return torch.tensor(
        [max((k for k in range(3) if k != int(c)), key=lambda k: float(row[k])) for row, c in zip(logits, y, strict=True)]
    )


def gradient_of_f(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(f(logits, y, rivals(logits.detach(), y)).sum(), x)
    return gradient


def test_it_tends_to_the_squared_l1_norm_of_the_input_gradient(smooth: nn.Module) -> None:
    x = pixels()
    wanted = float(gradient_of_f(smooth, x, Y).abs().sum(1).square().mean())
    errors = [abs(float(penalty(SR(weight=1, h=h), smooth, x, Y).detach()) / wanted - 1) for h in (1e-2, 1e-3, 1e-4, 1e-6)]
    assert wanted > 0.1
    assert errors[-1] < 1e-5
    for coarse, fine in pairwise(errors[:3]):
        assert fine == pytest.approx(coarse / 10, rel=0.3)  # of first order in h


def test_its_gradient_is_that_of_the_formula_with_the_direction_held(smooth: nn.Module) -> None:
    x, h = pixels(), 0.01
    v = gradient_of_f(smooth, x, Y).sign()
    parameters = list(smooth.parameters())
    logits = smooth(x)
    rival = rivals(logits.detach(), Y)
    by_hand = (((f(smooth(x + h * v), Y, rival) - f(logits, Y, rival)) / h) ** 2).mean()
    found = penalty(SR(weight=0.3, h=h), smooth, x, Y)
    assert float(found.detach()) == pytest.approx(0.3 * float(by_hand.detach()), rel=1e-9)
    for a, b in zip(torch.autograd.grad(found, parameters), torch.autograd.grad(by_hand, parameters), strict=True):
        torch.testing.assert_close(a, 0.3 * b, rtol=1e-7, atol=1e-12)
        assert b.any()


def test_the_runner_up_is_that_of_the_image_itself() -> None:
    """z = (3x, -x, 1.65 - 2x), class 2: at x = 0.2 class 0 is the runner-up, at x - h = -0.4 class 1 has overtaken it."""

    class Crossing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([3 * x, -x, 1.65 - 2 * x], 1)

    x = torch.tensor([[0.2]], dtype=DOUBLE)
    found = float(penalty(SR(weight=1, h=0.6), Crossing(), x, torch.tensor([2])))
    before, after = (1 / (1 + math.exp(-d)) for d in (1.25 - 0.6, 2.45 + 1.2))
    assert found == pytest.approx(((after - before) / 0.6) ** 2, rel=1e-9)


@pytest.mark.parametrize("scale", [200.0, -200.0, 1e4])
def test_value_and_gradient_are_finite_for_enormous_logits(scale: float) -> None:
    weight = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(weight * scale)
        model.bias.zero_()
    x = torch.full((3, 2), 0.5)
    term = penalty(SR(weight=1.0), model, x, torch.tensor([0, 1, 2]))
    assert math.isfinite(float(term.detach()))
    assert float(term.detach()) >= 0
    for gradient in torch.autograd.grad(term, list(model.parameters())):
        assert gradient.isfinite().all()
    assert confidence(model(x), torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0])).isfinite().all()


def test_low_precision_logits_are_compared_in_high() -> None:
    logits = torch.tensor([[3.0, 2.9844, 0.0], [0.5, -4.0, 0.25]]).bfloat16()
    y, rival = torch.tensor([0, 2]), torch.tensor([1, 0])
    found = confidence(logits, y, rival)
    assert found.dtype == torch.float32
    differences = [float(logits[0, 0]) - float(logits[0, 1]), 0.25 - 0.5]
    assert found.tolist() == pytest.approx([1 / (1 + math.exp(-d)) for d in differences], rel=1e-6)
    assert confidence(logits.double(), y, rival).dtype == DOUBLE


def test_it_still_sees_a_direction_where_f_is_flat() -> None:
    """z_y - z_m = -120: the gradient of f underflows in float32, that of the difference of logits does not."""
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [-240.0]]))
        model.bias.copy_(torch.tensor([0.0, 240.0]))
    # f(0.5) = sigmoid(-120) = 0; with h = 0.6 the step goes up to x = 1.1, f = sigmoid(24) = 1.
    term = penalty(SR(weight=1.0, h=0.6), model, torch.tensor([[0.5]]), torch.tensor([0]))
    assert float(term.detach()) == pytest.approx(1 / 0.36, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2])
def test_small_batches(n: int) -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    term = penalty(SR(weight=1.0), model, x, Y[:n])
    assert term.shape == ()
    assert term.isfinite()
    two = penalty(SR(weight=1.0), nn.Linear(2, 3).double(), pixels()[:n, :2], Y[:n])
    assert two.shape == ()


def trained(defense: Defense, steps: int) -> dict[str, Tensor]:
    data = fake(classes=3, image_shape=(1, 8, 8), train=8 * steps, validation=4, test=4)
    model = construct(
        defense.design(Network(name="vgg4-tiny", steps=2)), classes=3, image_shape=(1, 8, 8), mean=data.mean, std=data.std
    )
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(6)  # else the untrained last layer is silent, and so is SR
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=4)
    fit(model, data.train, data.validation, defense=defense, training=training, seed=1)
    return dict(model.state_dict())


def test_statistics_see_each_step_once_and_only_the_batch_itself() -> None:
    plain, sparse = trained(Stack(), 1), trained(SR(weight=1.0), 1)
    statistics = [name for name in plain if "running" in name or "tracked" in name]
    assert len(statistics) == 3 * sum(isinstance(m, TDBN) for m in build("vgg4-tiny", image_shape=(1, 8, 8)).modules())
    assert all(torch.equal(plain[name], sparse[name]) for name in statistics)
    assert any(not torch.equal(plain[name], sparse[name]) for name in plain)
    assert all(int(t) == 3 for name, t in trained(SR(), 3).items() if "tracked" in name)


def test_two_more_passes_and_no_second_derivative(smooth: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: passes.append(args[0].detach()))
    real: Callable[..., Any] = torch.autograd.grad
    asked: list[Any] = []

    def grad(*args: Any, **options: Any) -> Any:
        asked.append(options)
        return real(*args, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    x = pixels()
    penalty(SR(weight=1, h=0.02), smooth, x, Y)
    assert len(passes) == 3  # the loop's own, one for the direction, one at x + h v
    assert torch.equal(passes[1], x)
    assert torch.allclose((passes[2] - x).abs(), torch.full_like(x, 0.02), atol=1e-12)
    assert len(asked) == 1
    assert not any(options.get("create_graph") for options in asked)


def test_nobody_in_the_package_asks_for_second_derivatives() -> None:
    sources = list(Path(snnguard.__file__).parent.rglob("*.py"))
    assert len(sources) > 50
    assert [path.name for path in sources if "create_graph" in path.read_text()] == []


def test_gradients_of_parameters_are_not_touched(smooth: nn.Module) -> None:
    x = pixels().requires_grad_()
    penalty(SR(weight=1), smooth, x, Y)
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in smooth.parameters())


def test_weight_and_schedule() -> None:
    model, x = nn.Linear(4, 3).double(), pixels()
    one = float(penalty(SR(weight=1.0), model, x, Y).detach())
    assert float(penalty(SR(weight=0.002), model, x, Y).detach()) == pytest.approx(0.002 * one)
    assert float(penalty(SR(weight=1.0, rise="linear"), model, x, Y, progress=0.25).detach()) == pytest.approx(one / 4)
    batch, logits = Batch(x=x, y=Y, clean=x), model(x)
    for defense, progress in ((SR(weight=0), 0.5), (SR(rise="cosine"), 0.0)):
        assert defense.penalty(model, batch, logits, Step(progress=progress, seed=0, membranes={})) is None


def test_soft_labels_count_as_their_likeliest_class(smooth: nn.Module) -> None:
    x, soft = pixels(), 0.8 * nn.functional.one_hot(Y, 3).double() + 0.2 / 3
    hard_, found = (float(penalty(SR(weight=1), smooth, x, y).detach()) for y in (Y, soft))
    assert found == hard_


def test_training_with_it_makes_the_input_gradient_sparse(smooth: nn.Module) -> None:
    x = pixels()
    before = float(gradient_of_f(smooth, x, Y).abs().sum(1).square().mean())
    optimiser = torch.optim.SGD(smooth.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        penalty(SR(weight=1), smooth, x, Y).backward()
        optimiser.step()
    assert float(gradient_of_f(smooth, x, Y).abs().sum(1).square().mean()) < 0.5 * before
