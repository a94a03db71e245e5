"""A network with another constant is the network that is built with it and given the same weights."""

import pytest
import torch

from snnguard.analysis import constant_sweep, with_constant
from snnguard.attacks import fgsm
from snnguard.errors import RequestError, UnknownName
from snnguard.networks import build
from snnguard.neurons import LIF, EvolutionaryLeak, HomeostaticThreshold, MembraneNoise, StochasticGate, neurons_of, plif
from snnguard.neurons import dlif as dlif_neuron
from snnguard.threat import Linf


@pytest.mark.parametrize(
    ("constant", "value", "settings"),
    [
        ("decay", 0.5, {"neuron": LIF(decay=0.5)}),
        ("threshold", 0.7, {"neuron": LIF(threshold=0.7), "tdbn_threshold": 1.0}),
        ("steps", 7, {"steps": 7}),
        ("steps", 1, {"steps": 1}),
    ],
)
def test_it_is_the_network_built_with_that_constant(network, images, constant, value, settings):
    model = network()
    twin = build("vgg4-tiny", **{"classes": 4, "image_shape": (1, 8, 8), "steps": 3, **settings}).eval()
    twin.load_state_dict(model.state_dict())
    changed = with_constant(model, constant, value=value)
    assert torch.equal(changed(images(6)), twin(images(6)))
    assert not torch.equal(changed(images(6)), model(images(6)))
    assert (model.steps, {n.settings for n in neurons_of(model).values()}) == (3, {LIF()})


@pytest.mark.parametrize("constant", ["decay", "threshold", "steps"])
def test_its_own_constant_changes_nothing(network, images, constant):
    model = network(neuron=LIF(decay=0.9, threshold=0.8, traits=(StochasticGate(start=0.5, inference="expectation"),)))
    own = {"decay": 0.9, "threshold": 0.8, "steps": 3}[constant]
    assert torch.equal(with_constant(model, constant, value=own)(images(4)), model(images(4)))


def test_what_was_learned_for_all_steps_goes_along(network, images):
    model = network(neuron=plif())
    for index, neuron in enumerate(neurons_of(model).values()):
        neuron.mechanisms[0].w.data.fill_(index - 1.0)
    twin = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=5, neuron=plif()).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(with_constant(model, "steps", value=5)(images(4)), twin(images(4)))
    gated = network(neuron=LIF(traits=(StochasticGate(inference="expectation"),)))
    for neuron in neurons_of(gated).values():
        neuron.mechanisms[0].q.data.uniform_(0.1, 1)
    longer = with_constant(gated, "steps", value=4)
    gates = [neuron.mechanisms[0].q for model in (gated, longer) for neuron in neurons_of(model).values()]
    assert all(torch.equal(a, b) for a, b in zip(gates[:3], gates[3:], strict=True))


@pytest.mark.parametrize("neuron", [dlif_neuron(), *(LIF(traits=(t,)) for t in (EvolutionaryLeak(), HomeostaticThreshold()))])
def test_what_was_learned_for_each_step_ties_the_network_to_its_steps(network, neuron):
    with pytest.raises(RequestError, match="for each of 3 steps; it cannot run for 4"):
        with_constant(network(neuron=neuron), "steps", value=4)


def test_other_requests_that_cannot_be_met(network, images):
    model, x, y = network(), images(2), torch.tensor([0, 1])
    with pytest.raises(UnknownName, match="did you mean 'threshold'"):
        with_constant(model, "treshold", value=1)
    with pytest.raises(RequestError, match="whole number of steps"):
        with_constant(model, "steps", value=1.5)
    with pytest.raises(RequestError, match="threshold"):
        with_constant(model, "threshold", value=-1)
    with pytest.raises(RequestError, match="replaces it"):
        with_constant(network(neuron=plif()), "decay", value=0.5)
    asked = {"constant": "decay", "values": (1.0,), "attack": fgsm(), "threat": Linf(eps=0.1)}
    with pytest.raises(RequestError, match="no SNNGuard neuron"):
        constant_sweep(torch.nn.Flatten(), x, y, **asked)


@pytest.mark.parametrize("neuron", [LIF(), LIF(traits=(MembraneNoise(sigma=0.3, inference=True),))])
def test_the_sweep_attacks_each_network_anew(network, images, neuron):
    model, x = network(neuron=neuron), images(24)
    y = model(x).argmax(1)
    asked = {"attack": fgsm(), "threat": Linf(eps=0.08), "seed": 1, "batch_size": 10}
    found = constant_sweep(model, x, y, constant="threshold", values=(0.5, 1.0), **asked)
    assert (found.constant, found.trained, found.values, found.refused) == ("threshold", 1.0, (0.5, 1.0), "")
    assert found == constant_sweep(model, x, y, constant="threshold", values=(0.5, 1.0), **asked)
    assert all(b.point <= a.point for a, b in zip(found.clean, found.attacked, strict=True))
    if not model.stochastic:
        changed = with_constant(model, "threshold", value=0.5)
        x_adv = fgsm()(changed, x, y, threat=Linf(eps=0.08), seed=1)
        right = (changed(x).argmax(1) == y) & (changed(x_adv).argmax(1) == y)
        assert found.attacked[0].point == float(right.double().mean())
        assert found.clean[1].point == 1.0
