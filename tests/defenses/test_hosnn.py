"""HoSNN: its teacher's membranes become the signature, at the right time, and the network stays deterministic."""

import pytest
import torch
from torch import Tensor

from snnguard.data import fake
from snnguard.defenses import Batch, Defense, Stack, Step
from snnguard.defenses.hosnn import HoSNN
from snnguard.errors import RequestError
from snnguard.layers import watching
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import LIF, Watch, mechanisms_of, neurons_of
from snnguard.neurons.homeostasis import Homeostasis, HomeostaticThreshold
from snnguard.training import SGD, Training, fit

NETWORK = Network(name="vgg4-tiny", steps=2, neuron=LIF(threshold=0.5))


def made(defense: Defense, network: Network = NETWORK, seed: int = 0) -> SpikingClassifier:
    return construct(defense.design(network), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0], seed=seed)


def images(seed: int) -> Tensor:
    return 5 * torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def prepare(defense: HoSNN, model: SpikingClassifier, teacher: SpikingClassifier, clean: Tensor, progress: float) -> None:
    step = Step(progress=progress, seed=0, membranes={}, teachers={"hosnn": teacher})
    defense.prepare(model, Batch(x=clean + 9, y=torch.zeros(5, dtype=torch.int64), clean=clean), step)


def test_the_signature_is_the_teachers_mean_membrane_on_the_clean_images() -> None:
    defense = HoSNN(record_until=0.5)
    model, teacher = made(defense), made(Stack(), seed=1).eval()
    for seed in (0, 1):
        prepare(defense, model, teacher, images(seed), progress=0.2)
    with torch.no_grad(), watching(teacher, Watch(potential=True)) as seen:
        teacher(torch.cat([images(0), images(1)]))
    found = mechanisms_of(model, Homeostasis)
    assert len(found) == 3
    for mechanism, passes in zip(found, seen.values(), strict=True):
        torch.testing.assert_close(mechanism.signature, passes[0].potential.mean(1) + 0.5)  # plus the threshold
        assert int(mechanism.recorded) == 2
        assert mechanism.signature.std() > 0


def test_it_stays_once_the_time_of_recording_is_over() -> None:
    defense = HoSNN(record_until=0.5)
    model, teacher = made(defense), made(Stack(), seed=1).eval()
    prepare(defense, model, teacher, images(0), progress=0.0)
    before = [mechanism.signature.clone() for mechanism in mechanisms_of(model, Homeostasis)]
    prepare(defense, model, teacher, images(1), progress=0.5)
    for mechanism, signature in zip(mechanisms_of(model, Homeostasis), before, strict=True):
        assert torch.equal(mechanism.signature, signature)
        assert int(mechanism.recorded) == 1


def test_training_records_and_the_teacher_stays_as_it_was() -> None:
    data = fake(classes=3, image_shape=(1, 8, 8), train=32, validation=8, test=8)
    defense, teacher = HoSNN(record_until=0.5), made(Stack(), seed=1)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    results = []
    for _ in range(2):
        model = made(defense)
        fit(model, data.train, data.validation, defense=defense, training=training, seed=3, teachers={"hosnn": teacher})
        results.append(model)
    assert all(int(m.recorded) == 2 for m in mechanisms_of(model, Homeostasis))  # of four steps
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in results), strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert torch.equal(model(images(0)), model(images(0)))
    assert not model.stochastic
    assert defense.adaptive() == ()


def test_the_signature_moves_the_network() -> None:
    # Signatures of silence: every membrane above zero meets a higher threshold in the next step.
    defense = HoSNN(rate=1.0)
    model, plain = made(defense).eval(), made(Stack()).eval()
    x = images(0)
    assert torch.equal(model(x), plain(x))
    for mechanism in mechanisms_of(model, Homeostasis):
        mechanism.recorded += 1
    first = next(iter(neurons_of(model)))
    with watching(model, Watch(potential=True)) as seen, watching(plain, Watch(potential=True)) as seen_plain:
        model(x), plain(x)
    ours, theirs = seen[first][0].spikes, seen_plain[first][0].spikes
    u = seen_plain[first][0].potential + 0.5
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], ((u[1] - u[0]) >= 0.5).float())
    assert not torch.equal(ours[1], theirs[1])


def test_it_asks_for_an_undefended_teacher() -> None:
    assert HoSNN().teachers() == {"hosnn": Stack()}
    assert HoSNN(rate=0.3, leak=0.9).design(NETWORK).neuron.traits == (HomeostaticThreshold(rate=0.3, leak=0.9),)


def test_no_rate_no_defense() -> None:
    off = HoSNN(rate=0)
    assert off.design(NETWORK) is NETWORK
    assert off.teachers() == {}
    assert not off.watch
    off.prepare(made(off), Batch(x=images(0), y=torch.zeros(5), clean=images(0)), Step(progress=0, seed=0, membranes={}))


def test_a_teacher_of_another_shape_is_refused() -> None:
    defense = HoSNN()
    for other in (NETWORK.model_copy(update={"steps": 3}), NETWORK.model_copy(update={"name": "vgg5-slim"})):
        with pytest.raises(RequestError, match=r"signature|teacher"):
            prepare(defense, made(defense), made(Stack(), other).eval(), images(0), progress=0.0)
