"""Parameter groups, learning rates against closed forms."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from snnguard.defenses import REG
from snnguard.defenses.defense import Group
from snnguard.errors import RequestError
from snnguard.training import SGD, AdamW, Optimiser
from snnguard.training.optimiser import learning_rate_share


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def count(optimiser: torch.optim.Optimizer) -> int:
    found = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert len(found) == len(set(found))
    return len(found)


def test_each_parameter_once_and_the_first_group_wins(model: nn.Module) -> None:
    groups = [
        Group(parameters=list(model[0].parameters()), weight_decay=0.0),
        Group(parameters=list(model.parameters())[:4], learning_rate_scale=0.5),
    ]
    optimiser = SGD(learning_rate=0.1, weight_decay=0.01).over(model, groups)
    assert count(optimiser) == len(list(model.parameters())) == 6
    found = [(len(g["params"]), g["weight_decay"], g["lr"]) for g in optimiser.param_groups]
    assert found == [(2, 0.0, 0.1), (2, 0.01, 0.05), (2, 0.01, 0.1)]


@pytest.mark.parametrize("settings", [SGD(weight_decay=0.3), AdamW(weight_decay=0.3)])
def test_reg_switches_weight_decay_off(model: nn.Module, settings: Optimiser) -> None:
    assert [g["weight_decay"] for g in settings.over(model, REG().groups(model)).param_groups] == [0.0]
    assert [g["weight_decay"] for g in settings.over(model, REG(beta=0).groups(model)).param_groups] == [0.3]
    assert count(settings.over(model, REG().groups(model))) == 6


def test_settings_reach_pytorch(model: nn.Module) -> None:
    sgd = SGD(learning_rate=0.2, momentum=0.8, nesterov=True, weight_decay=0.1).over(model, []).param_groups[0]
    assert [sgd[k] for k in ("lr", "momentum", "nesterov", "weight_decay")] == [0.2, 0.8, True, 0.1]
    adam = AdamW(learning_rate=0.2, beta1=0.5, beta2=0.6, weight_decay=0.1).over(model, [])
    assert isinstance(adam, torch.optim.AdamW)
    assert [adam.param_groups[0][k] for k in ("lr", "betas", "weight_decay")] == [0.2, (0.5, 0.6), 0.1]


def test_one_sgd_step_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    optimiser = SGD(learning_rate=0.1, weight_decay=0.5, momentum=0.9).over(model, [])
    velocity, weight = 0.0, 2.0
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.ones(1, 1)).sum().backward()
        optimiser.step()
        velocity = 0.9 * velocity + 1.0 + 0.5 * weight
        weight -= 0.1 * velocity
        assert model.weight.item() == pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"momentum": 0, "nesterov": True}, "nesterov"),
        ({"beta1": 0.9}, "beta1"),
    ],
)
def test_what_sgd_refuses(given: dict[str, float], said: str) -> None:
    with pytest.raises((ValidationError, RequestError), match=said):
        SGD(**given)


@pytest.mark.parametrize("settings", [SGD(nesterov=True), SGD(momentum=0), AdamW()], ids=["sgd", "plain sgd", "adamw"])
def test_weights_may_begin_late_and_pause(settings: Optimiser) -> None:
    ends = []
    for fused in (True, False):
        layers = nn.ModuleList(nn.Linear(3, 2, dtype=torch.float64) for _ in range(2))
        for number, weight in enumerate(layers.parameters()):
            weight.data = torch.arange(weight.numel(), dtype=torch.float64).reshape(weight.shape) + number
        optimiser = settings.over(layers, [])
        optimiser.param_groups[0]["fused"] = fused
        for step in range(4):
            optimiser.zero_grad()
            at_work = [layers[0], layers[1]] if step % 2 else [layers[0]]  # the second one begins late, and pauses
            sum(weight.square().sum() for layer in at_work for weight in layer.parameters()).backward()
            optimiser.step()
        ends.append([weight.detach() for weight in layers.parameters()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_weights_with_gaps_are_left_to_pytorch() -> None:
    whole = torch.zeros(4, 8)
    model = nn.Module()
    model.part = nn.Parameter(whole[:, :4])
    optimiser = SGD(learning_rate=1, weight_decay=0).over(model, [])
    model.part.grad = torch.ones(4, 4)
    optimiser.step()
    assert torch.equal(whole[:, :4], -torch.ones(4, 4))
    assert not whole[:, 4:].any()


ORDERS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("settings", [SGD(nesterov=True), AdamW()], ids=["sgd", "adamw"])
@pytest.mark.parametrize("of_weight", ORDERS)
@pytest.mark.parametrize("of_others", ORDERS)
def test_the_order_in_memory_changes_nothing(
    settings: Optimiser, of_weight: torch.memory_format, of_others: torch.memory_format
) -> None:
    start = torch.rand(4, 3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = []
    for weights, others in ((torch.contiguous_format,) * 2, (of_weight, of_others)):
        layer = nn.Conv2d(3, 4, (5, 2), bias=False, dtype=torch.float64)
        layer.weight.data = start.clone(memory_format=weights)
        optimiser = settings.over(layer, [])
        if others == torch.contiguous_format == weights:  # the reference goes through the weights one operation at a time
            optimiser.param_groups[0]["fused"] = False
        for step in range(3):
            layer.weight.grad = (start * step).cos().contiguous(memory_format=others)
            optimiser.step()
            for name, value in optimiser.state[layer.weight].items():  # as `load_state_dict` gives them
                if value.ndim:
                    optimiser.state[layer.weight][name] = value.contiguous(memory_format=others)
        ends.append(layer.weight.detach())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final: float) -> None:
    share = [learning_rate_share(p, 0.0, final) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    expected = [final + (1 - final) * (1 + math.cos(math.pi * p)) / 2 for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert share == pytest.approx(expected, abs=1e-12)
    assert share[0] == 1.0
    assert share[2] == pytest.approx((1 + final) / 2)
    assert share[4] == pytest.approx(final, abs=1e-12)


def test_warm_up_is_linear_and_meets_the_cosine() -> None:
    assert learning_rate_share(0.0, 0.2, 0.0) == 0.0
    assert learning_rate_share(0.05, 0.2, 0.0) == pytest.approx(0.25)
    assert learning_rate_share(0.2, 0.2, 0.0) == pytest.approx(1.0)
    assert learning_rate_share(0.6, 0.2, 0.0) == pytest.approx(0.5)
    assert learning_rate_share(1.0, 0.2, 0.0) == pytest.approx(0.0, abs=1e-12)
