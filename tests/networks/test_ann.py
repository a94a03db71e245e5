"""Networks without spikes: the same layers with rectified linear units in place of the neurons."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import InputGradient
from snnguard.errors import InvalidRecipe, RequestError
from snnguard.layers import TDBN
from snnguard.networks import Network, SpikingClassifier, build, names
from snnguard.neurons import BPTT, LIF, neurons_of, plif
from snnguard.recipes import get, read

Y = torch.tensor([0, 1, 2, 0])


def tiny(**settings: Any) -> SpikingClassifier:
    return build(
        "vgg4-tiny", classes=3, image_shape=(1, 8, 8), mean=[0.4], std=[0.3], seed=1, spiking=False, **settings
    ).double()


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def unsettled(model: nn.Module) -> None:
    """Statistics that are not those of a fresh normalisation."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, TDBN):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))


@pytest.mark.parametrize("name", sorted(names()))
def test_every_architecture_has_units_where_it_had_neurons_and_the_same_tensors(name: str) -> None:
    with torch.device("meta"):
        spiking, ann = build(name, steps=3), build(name, steps=3, spiking=False)
    assert not neurons_of(ann)
    places = [n for n, module in ann.named_modules() if isinstance(module, nn.ReLU)]
    assert places == list(neurons_of(spiking))
    shapes = [{n: t.shape for n, t in model.state_dict().items()} for model in (spiking, ann)]
    assert shapes[0] == shapes[1]
    assert ann(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_the_logits_written_out() -> None:
    model = tiny(neuron=LIF(threshold=0.5)).eval()  # tdBN takes its scale from the threshold, spikes or not
    unsettled(model)
    layers = dict(model.body.named_modules())
    x = (images() - 0.4) / 0.3
    for place in ("0", "2"):
        convolution, norm = layers[place][0], layers[place][1]
        x = functional.conv2d(x, convolution.weight, convolution.bias, padding=1)
        x = (x - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[:, None, None]
        x = (0.5 * norm.weight[:, None, None] * x + norm.bias[:, None, None]).clamp_min(0)
    x = functional.avg_pool2d(x, 2).flatten(1)
    hidden, out = (m for m in model.body.modules() if isinstance(m, nn.Linear))
    x = (x @ hidden.weight.T + hidden.bias).clamp_min(0) @ out.weight.T + out.bias
    torch.testing.assert_close(model(images()), x, rtol=1e-6, atol=1e-6)  # mean and std are in single precision
    assert x.std() > 0


@pytest.mark.parametrize("training", [False, True])
def test_steps_do_not_matter(training: bool) -> None:
    one, five = (tiny(steps=steps).train(training) for steps in (1, 5))
    torch.testing.assert_close(five(images()), one(images()))
    frames = images()[:, None].expand(-1, 5, -1, -1, -1)
    torch.testing.assert_close(five(frames), one(images()))


def test_it_trains() -> None:
    model = tiny().train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = functional.cross_entropy(model(images()), Y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_its_own_gradient_is_that_of_its_units_and_no_rule_fits() -> None:
    model, step = tiny().eval(), 1e-6
    gradient = InputGradient()(model, images(), Y).gradient
    shift = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    shift[..., 3, 4] = step
    with torch.no_grad():
        up, down = (functional.cross_entropy(model(images() + s), Y, reduction="none") for s in (shift, -shift))
    torch.testing.assert_close(gradient[:, 0, 3, 4], (up - down) / (2 * step), rtol=1e-4, atol=1e-8)
    assert not model.stochastic
    with pytest.raises(RequestError, match="contains no SNNGuard neuron"):
        InputGradient(rule=BPTT())(model, images(), Y)


def test_what_neurons_learn_is_left_out() -> None:
    learns = {"name": "vgg4-tiny", "image_shape": (1, 8, 8), "neuron": plif()}
    spiking, ann = build(**learns), build(**learns, spiking=False)
    assert len(list(spiking.parameters())) > len(list(ann.parameters()))


def test_it_is_written_down(tmp_path: Path) -> None:
    network = Network(name="vgg4-tiny", spiking=False)
    assert network.to_json()["spiking"] is False
    assert Network.parse(network.to_json()) == network != Network(name="vgg4-tiny")
    assert Network.parse({"name": "vgg4-tiny"}).spiking  # descriptions from before
    recipe = get("digits-undefended").model_copy(update={"network": network})
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert read(str(path)) == recipe
    assert read("digits-undefended", ["network.spiking=false"]).network.spiking is False
    with pytest.raises(InvalidRecipe, match="spiking"):
        read("digits-undefended", ["network.spiking=maybe"])
