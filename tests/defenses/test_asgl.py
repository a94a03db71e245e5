"""ASGL: the share of spikes rises to 1, the finished network has only spikes, the slopes learn."""

import pytest
import torch
from torch import nn

from snnguard.data import fake
from snnguard.defenses import Batch, Defense, Stack, Step
from snnguard.defenses.asgl import ASGL
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import Neuron, mechanisms_of
from snnguard.neurons.learned import Smoothing
from snnguard.training import SGD, Training, fit


def lively(model: SpikingClassifier) -> SpikingClassifier:
    """With larger weights behind the convolutions: fresh from the start, a network this small is silent."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(6)
    return model


def network(defense: Defense) -> SpikingClassifier:
    described = defense.design(Network(name="vgg4-tiny", steps=2, tdbn_alpha=3.0))
    return lively(construct(described, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0]))


def images() -> Batch:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(x=x, y=torch.arange(8) % 3, clean=x)


def shares(model: nn.Module) -> list[float]:
    return [float(layer.p) for layer in mechanisms_of(model, Smoothing)]


def values(model: nn.Module) -> set[float]:
    found: set[float] = set()
    hooks = [
        module.register_forward_hook(lambda m, a, out: found.update(out.unique().tolist()))
        for module in model.modules()
        if isinstance(module, Neuron)
    ]
    model(images().x)
    for hook in hooks:
        hook.remove()
    return found


def test_the_share_of_spikes_rises_from_its_start_to_one() -> None:
    defense = ASGL(p_start=0.6)
    model = network(defense)
    assert shares(model) == pytest.approx([0.6] * 3)
    for progress, p in ((0.0, 0.6), (0.25, 0.7), (0.5, 0.8), (1.0, 1.0)):
        defense.prepare(model, images(), Step(progress=progress, seed=0, membranes={}))
        assert shares(model) == pytest.approx([p] * 3)
    defense.prepare(nn.Identity(), images(), Step(progress=0.5, seed=0, membranes={}))


def test_it_emits_numbers_between_0_and_1_in_training_and_spikes_in_eval_mode() -> None:
    model = network(ASGL(p_start=0.2))
    between = values(model.train())
    assert all(0 <= value <= 1 for value in between)
    assert len(between) > 10
    assert values(model.eval()) == {0.0, 1.0}
    assert not model.stochastic
    assert ASGL().adaptive() == ()
    plain = network(Stack()).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(model(images().x), plain(images().x))
    assert plain(images().x).std() > 0


def test_with_p_start_1_it_never_smooths() -> None:
    x = images().x
    assert torch.equal(network(ASGL(p_start=1)).train()(x), network(Stack()).train()(x))
    assert not torch.equal(network(ASGL(p_start=0.5)).train()(x), network(Stack()).train()(x))


def test_only_the_slopes_are_spared_the_weight_decay() -> None:
    model = network(ASGL())
    (group,) = ASGL().groups(model)
    assert {id(p) for p in group.parameters} == {id(p) for name, p in model.named_parameters() if name.endswith(".a")}
    assert group.weight_decay == 0


def test_after_training_every_share_is_1_and_every_slope_has_moved() -> None:
    data = fake(classes=3, image_shape=(1, 8, 8), train=24, validation=8, test=8)
    defense = ASGL(p_start=0.5)
    model = network(defense)
    seen: list[float] = []
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    fit(
        model, data.train, data.validation, defense=defense, training=training,
        report=lambda step, steps, line: seen.append(shares(model)[0]),
    )  # fmt: skip
    assert seen == pytest.approx([0.5, 0.5 + 0.5 / 3, 0.5 + 1 / 3])
    assert shares(model) == [1.0] * 3
    assert all(layer.a != 0 for layer in mechanisms_of(model, Smoothing))
