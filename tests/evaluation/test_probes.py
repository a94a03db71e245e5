"""What is measured beside the attacks, on models whose faults are known."""

import copy

import pytest
import torch
from torch import Tensor, nn

from snnguard.data import Dataset
from snnguard.evaluation import suite
from snnguard.evaluation.evaluate import evaluate
from snnguard.evaluation.probes import cosine, gradient_stops, measure
from snnguard.networks import build
from snnguard.neurons import BPTT, RateGradient, Triangle, neurons_of
from snnguard.threat import Linf

QUICK = suite("quick")
EPS = Linf(eps=0.1)


class Wrapped(nn.Module):
    """A network with one fault between the image and the first layer, or around the whole."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 15).round() / 15


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Remembering(Wrapped):
    """Adds a little of what it was shown last."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        given = x if self.last is None else x + 0.05 * self.last[: len(x)].mean()
        self.last = x.detach()
        return self.model(given)


class BlindInEval(nn.Module):
    """A step with a straight-through gradient in training mode, and none in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        step = (x * 4).round() / 4
        return x + (step - x).detach() if self.training else step.detach()


def images(faked: Dataset, n: int = 32) -> tuple[Tensor, Tensor]:
    return faked.test.pixels(torch.arange(n)), faked.test.labels[:n]


def found(model: nn.Module, faked: Dataset) -> dict[str, float]:
    return measure(model, *images(faked), rules=[None], threat=EPS, seed=0, batch_size=32)


def raised(model: nn.Module, faked: Dataset) -> set[str]:
    record = evaluate(model, *images(faked), suite=QUICK, threat=EPS)
    return {s.code for s in record.suspicions}


def test_a_sound_network_measures_soundly(trained: nn.Module, faked: Dataset) -> None:
    measures = measure(trained, *images(faked), rules=[BPTT(), RateGradient()], threat=EPS, seed=0, batch_size=32)
    assert measures["state-gap"] == measures["mode-gap"] == measures["forward-gap/rate"] == measures["blind-in-eval"] == 0
    assert measures["zero-gradient/bptt"] == measures["probabilities"] == 0
    assert 0.1 < measures["cosine/bptt~rate"] <= 1
    assert 0 <= measures["dead-channels"] < 0.5
    assert 0 < measures["outside-window"] < 0.98
    assert not any(name.startswith("gradient-stops") for name in measures)
    assert raised(trained, faked) == set()


@pytest.mark.parametrize("fault", [Rounding(), Detached()], ids=["rounding", "detached"])
def test_the_layer_that_cuts_the_graph_is_named(fault: nn.Module, trained: nn.Module, faked: Dataset) -> None:
    model = nn.Sequential(nn.Identity(), fault, copy.deepcopy(trained))
    assert gradient_stops(model, *images(faked, 4)) == {"1": 1.0}
    assert {"gradient-stops", "zero-gradient"} <= raised(model, faked)


def test_a_memory_between_calls_is_found(trained: nn.Module, faked: Dataset) -> None:
    model = Remembering(copy.deepcopy(trained))
    assert found(model, faked)["state-gap"] > 1e-3
    assert "state-leaks" in raised(model, faked)


def test_a_network_without_a_gradient_in_eval_mode_is_found(trained: nn.Module, faked: Dataset) -> None:
    model = nn.Sequential(BlindInEval(), copy.deepcopy(trained))
    measures = found(model, faked)
    assert measures["blind-in-eval"] == measures["zero-gradient/own"] == 1
    assert measures["mode-gap"] == 0
    assert "blind-in-eval" in raised(model, faked)
    assert not model.training or model[0].training  # modes are put back


def test_a_network_that_differs_in_training_mode_is_found(trained: nn.Module, faked: Dataset) -> None:
    class Louder(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            return self.model(x) * (2 if self.training else 1)

    assert found(Louder(copy.deepcopy(trained)), faked)["mode-gap"] > 1e-3


def test_a_narrow_surrogate_is_found(trained: nn.Module, faked: Dataset) -> None:
    model = copy.deepcopy(trained)
    for neuron in neurons_of(model).values():
        neuron.settings = neuron.settings.model_copy(update={"surrogate": Triangle(gamma=0.01)})
    assert measure(model, *images(faked), rules=[BPTT()], threat=EPS, seed=0, batch_size=32)["outside-window"] > 0.98
    assert "narrow-window" in raised(model, faked)


def test_probabilities_and_sure_answers_are_found(faked: Dataset) -> None:
    x, y = images(faked)
    sure = nn.functional.one_hot(y, 4).float() * 200
    measures = measure(
        lambda images: sure[: len(images)] + 0 * images.sum(), x, y, rules=[None], threat=EPS, seed=0, batch_size=32
    )
    assert (measures["saturated"], measures["probabilities"]) == (1, 0)
    soft = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1))
    assert found(soft, faked)["probabilities"] == 1


def test_a_silent_network_has_dead_channels(faked: Dataset) -> None:
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, -100.0)
    assert found(model, faked)["dead-channels"] == 1


def test_the_cosine_of_gradients_by_hand() -> None:
    one = torch.tensor([[3.0, 4.0], [1e-30, 0.0], [0.0, 0.0]])
    other = torch.tensor([[4.0, 3.0], [0.0, 1e-30], [1.0, 0.0]])
    assert cosine(one, other) == pytest.approx((24 / 25 + 0) / 2)  # the third has no gradient under one of them
    assert cosine(one[2:], other[2:]) == 0


def test_measuring_leaves_the_model_alone(trained: nn.Module, faked: Dataset) -> None:
    model = copy.deepcopy(trained).train()
    state, generator = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    found(model, faked)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
