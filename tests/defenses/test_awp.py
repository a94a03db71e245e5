"""AWP: where the weights are during the step, and that nothing of it is left after it."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.data import fake
from snnguard.defenses import AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.awp import AWP, movable
from snnguard.defenses.trades import TRADES
from snnguard.networks import Network, build, construct
from snnguard.neurons import LIF, nlif
from snnguard.training import SGD, Training, fit


def step(progress: float = 0.5, seed: int = 4) -> Step:
    return Step(progress=progress, seed=seed, membranes={})


def batch(n: int = 8) -> Batch:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n))
    return Batch(x=x, y=torch.arange(n) % 3, clean=x)


def net(neuron: LIF | None = None) -> nn.Module:
    """A network that spikes in every layer, so that every weight has a gradient."""
    return build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2, seed=2, neuron=neuron or LIF(threshold=0.3)).train()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def same(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("gamma", [5e-3, 0.3])
def test_each_weight_moves_by_gamma_of_its_norm_and_nothing_else_moves(gamma: float) -> None:
    model = net()
    before, weights = copies(model), {id(p) for p in movable(model)}
    names = [name for name, p in model.named_parameters() if id(p) in weights]
    with AWP(gamma=gamma).around(model, batch(), step()):
        for name, tensor in model.state_dict().items():
            if name in names:
                relative = (tensor - before[name]).double().norm() / before[name].double().norm()
                assert float(relative) == pytest.approx(gamma, rel=1e-3), name
            else:
                assert torch.equal(tensor, before[name]), name
    assert len(names) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) >= 4


def test_along_the_gradient_of_a_linear_model_in_closed_form() -> None:
    model, given = linear(), batch()
    w = model[1].weight.detach().clone()
    p = model(given.x).detach().softmax(1)
    gradient = (p - functional.one_hot(given.y, 3)).T @ given.x.flatten(1) / 8  # of the mean cross-entropy
    with AWP(gamma=0.1).around(model, given, step()):
        torch.testing.assert_close(model[1].weight.detach(), w + 0.1 * w.norm() * gradient / gradient.norm())
    smooth = 0.7 * functional.one_hot(given.y, 3).float() + 0.1
    with AWP(gamma=0.1).around(model, Batch(x=given.x, y=smooth, clean=given.x), step()):
        soft = (p - smooth).T @ given.x.flatten(1) / 8
        torch.testing.assert_close(model[1].weight.detach(), w + 0.1 * w.norm() * soft / soft.norm())


@pytest.mark.parametrize("gamma", [1e-3, 5e-3, 0.1])
def test_the_loss_is_higher_inside(gamma: float) -> None:
    # The cross-entropy of a linear model is convex in its weights: any step along the gradient raises it.
    model, given = linear(), batch()
    outside = functional.cross_entropy(model(given.x), given.y).item()
    slope = torch.cat([p.flatten() for p in torch.autograd.grad(
        functional.cross_entropy(model(given.x), given.y), [model[1].weight])]).norm().item()  # fmt: skip
    with AWP(gamma=gamma).around(model, given, step()):
        inside = functional.cross_entropy(model(given.x), given.y).item()
    assert inside >= outside + gamma * model[1].weight.norm().item() * slope - 1e-6 > outside


def test_the_loss_of_a_spiking_network_is_higher_inside_too() -> None:
    model, given = net(), batch()
    losses = [functional.cross_entropy(model(given.x), given.y).item()]
    for gamma in (0.05, 0.2):
        with AWP(gamma=gamma).around(model, given, step()):
            losses.append(functional.cross_entropy(model(given.x), given.y).item())
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[2]


def test_the_gradients_are_those_of_the_moved_weights_and_the_weights_come_back_bit_for_bit() -> None:
    model, given, defense = net(), batch(), AWP(gamma=0.3)
    before, moved = copies(model), net()
    with defense.around(model, given, step()):
        moved.load_state_dict(model.state_dict())
        functional.cross_entropy(model(given.x), given.y).backward()
    functional.cross_entropy(moved(given.x), given.y).backward()
    for ours, theirs in zip(model.parameters(), moved.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert any(not torch.equal(p, before[name]) for name, p in moved.named_parameters())
    with pytest.raises(RuntimeError, match="within"), defense.around(model, given, step()):
        raise RuntimeError("within")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_statistics_are_updated_once_and_flags_modes_and_gradients_stay() -> None:
    model, given = net(), batch()
    model.body[2].eval()
    next(model.parameters()).requires_grad_(False)
    modes, flags, before = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()], copies(model)
    with AWP().around(model, given, step()):
        assert all(torch.equal(b, before[name]) for name, b in model.named_buffers() if name in before)
        assert torch.equal(model.body[0][0].weight, before["body.0.0.weight"])  # it asks for no gradient
        model(given.x)
    batches = {name: b for name, b in model.named_buffers() if name.endswith(".num_batches_tracked")}
    counts = {name.removesuffix(".num_batches_tracked"): int(b) - int(before[name]) for name, b in batches.items()}
    assert counts == {"body.0.1": 1, "body.2.1": 0}  # the layer in eval mode counts nothing
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_it_draws_from_numbers_of_its_own() -> None:
    model, given = net(nlif(sigma=0.5, threshold=0.3)), batch()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    places = []
    for seed in (1, 1, 2):
        with AWP(gamma=0.1).around(model, given, step(seed=seed)):
            assert torch.equal(torch.get_rng_state(), state)
            places.append(torch.cat([p.detach().flatten() for p in movable(model)]))
    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


@pytest.mark.parametrize("size", [1e-25, 1e-38, 1.0, 1e25])
def test_gradients_of_any_size(size: float) -> None:
    class Scaled(nn.Module):
        """Logits whose gradient is as small or as large as wanted, at weights of ordinary size."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.weight - self.weight.detach()) * size

    model = Scaled()
    given = Batch(x=torch.eye(4), y=torch.tensor([0, 1, 2, 0]), clean=torch.eye(4))
    with AWP(gamma=0.1).around(model, given, step()):
        assert float((model.weight - 1).norm().detach()) == pytest.approx(0.1 * math.sqrt(12), rel=1e-4)
    assert torch.equal(model.weight, torch.ones(3, 4))


def test_a_weight_without_a_gradient_stays() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) + 0 * self.unused.weight.sum()

    model = Half()
    before = copies(model)
    with AWP().around(model, Batch(x=torch.eye(4), y=torch.tensor([0, 1, 2, 0]), clean=torch.eye(4)), step()):
        assert torch.equal(model.unused.weight, before["unused.weight"])
        assert not torch.equal(model.used.weight, before["used.weight"])


@pytest.mark.parametrize(("defense", "progress"), [(AWP(gamma=0), 0.9), (AWP(start=0.5), 0.49)])
def test_it_rests_without_strength_and_before_its_start(defense: AWP, progress: float) -> None:
    model = net()
    before = copies(model)
    with defense.around(model, batch(), step(progress)):
        assert same(model, before)
    with AWP(start=0.5).around(model, batch(), step(0.5)):
        assert not same(model, before)


def trained(defense: Defense) -> dict[str, Tensor]:
    data = fake(classes=3, image_shape=(1, 8, 8), train=24, validation=8, test=8)
    model = construct(
        Network(name="vgg4-tiny", steps=2), classes=3, image_shape=(1, 8, 8), mean=data.mean, std=data.std, seed=0
    )
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    fit(model, data.train, data.validation, defense=defense, training=training)
    return copies(model)


def test_training_beside_other_defenses() -> None:
    plain = trained(Stack())
    assert all(torch.equal(t, plain[name]) for name, t in trained(AWP(gamma=0)).items())
    for others in ((), (AdversarialTraining(),), (TRADES(),)):
        without, with_it, again = trained(Stack(others)), trained(Stack((AWP(), *others))), trained(Stack((*others, AWP())))
        assert any(not torch.equal(t, without[name]) for name, t in with_it.items())
        assert all(torch.equal(t, again[name]) for name, t in with_it.items())  # its place in the stack does not matter
        assert all(torch.isfinite(t).all() for t in with_it.values())
