"""What every registered attack promises, whoever wrote it: each test runs over the whole registry."""

import json
import random

import pytest
import torch
from torch import nn

from snnguard.attacks import CW, PGD, Attack, Corruption, GaussianNoise, HopSkipJump, InputGradient, Margin, UniformNoise
from snnguard.errors import InvalidInput
from snnguard.networks import build
from snnguard.threat import L2, Linf

OURS = {name for name, make in Attack.members().items() if make.__module__.startswith("snnguard.")}
NAMES = sorted(OURS - {"auto-attack"})  # an ensemble like the one that is here, of a hundred times the length
THREATS = {"linf": Linf(eps=0.1), "l2": L2(eps=0.7)}


def make(name: str) -> Attack:
    member = Attack.members()[name]
    return member.example() if isinstance(member, type) else member()


class Smooth(nn.Module):
    """A smooth network with normalisation, dropout and a buffer: everything that an attack could disturb."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 4)
            )
            self.body[1].running_mean.normal_()
            self.body[1].running_var.uniform_(0.5, 2)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def some(n: int, shape: tuple[int, ...] = (2, 4, 4), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Images that also touch both ends of the range."""
    generator = torch.Generator().manual_seed(5)
    return (1.4 * torch.rand(n, *shape, generator=generator, dtype=torch.float64) - 0.2).clamp(0, 1).to(dtype)


def spiking() -> nn.Module:
    """Float64, so that no spike hangs on the rounding of a convolution over another batch size."""
    return build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=3, seed=1).double().eval()


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_to_ball_range_shape_and_type(name: str, norm: str) -> None:
    attack, threat, model = make(name), THREATS[norm], Smooth().float()
    x, y = some(6, dtype=torch.float32), torch.tensor([0, 1, 2, 3, 0, 1])
    x_adv = attack(model, x, y, threat=threat, seed=1)
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    if attack.bounded:
        moved = (x_adv - x).double().flatten(1)
        size = moved.abs().amax(1) if norm == "linf" else moved.square().sum(1).sqrt()
        assert size.max() <= threat.eps + 1e-6
        assert size.max() > 0.1 * threat.eps


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("name", [n for n in NAMES if make(n).bounded])
def test_radius_zero_gives_the_images_back(name: str, norm: str) -> None:
    x, y = some(3), torch.tensor([0, 1, 2])
    threat = THREATS[norm].model_copy(update={"eps": 0.0})
    assert torch.equal(make(name)(Smooth(), x, y, threat=threat, seed=1), x)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result_and_the_images_are_not_written_to(name: str) -> None:
    x, y = some(4), torch.tensor([0, 1, 2, 3])
    before = x.clone()
    torch.manual_seed(3)
    first = make(name)(Smooth(), x, y, threat=THREATS["linf"], seed=7)
    torch.manual_seed(4)
    assert torch.equal(first, make(name)(Smooth(), x, y, threat=THREATS["linf"], seed=7))
    assert torch.equal(x, before)


class Broken(RuntimeError):
    pass


def state(model: nn.Module) -> list[object]:
    """Everything that an attack could leave changed, as plain values that can be compared."""
    tensors = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    flags = [p.requires_grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    plain = [None if t is None else t.tolist() for t in (*tensors, *gradients, torch.get_rng_state())]
    return [plain, flags, modes, random.getstate()]


def mixed(model: nn.Module) -> nn.Module:
    """In training mode but for one module, one parameter without gradient, another that holds one."""
    model.train()
    model.body[1].eval()
    model.body[0].bias.requires_grad_(False)
    model.body[5].bias.grad = torch.full_like(model.body[5].bias, 3.0)
    return model


@pytest.mark.parametrize("target", [None, "random", "least-likely"])
@pytest.mark.parametrize("name", NAMES)
def test_leaves_model_and_generators_as_they_were(name: str, target: str | None) -> None:
    model = mixed(Smooth())
    torch.manual_seed(11)
    before = state(model)
    attack = make(name).model_copy(update={"target": target})
    attack(model, some(3), torch.tensor([0, 1, 2]), threat=THREATS["linf"], seed=1)
    assert state(model) == before


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(make(n), "gradient")])
def test_leaves_model_and_generators_as_they_were_when_it_fails(name: str) -> None:
    model = mixed(Smooth())

    def fail(*_: object) -> None:
        torch.rand(3)
        random.random()
        raise Broken

    model.body[4].register_forward_hook(fail)
    torch.manual_seed(11)
    before = state(model)
    with pytest.raises(Broken):
        make(name)(model, some(3), torch.tensor([0, 1, 2]), threat=THREATS["linf"], seed=1)
    assert state(model) == before


@pytest.mark.parametrize("kind", ["smooth", "spiking"])
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_know_its_neighbours(name: str, kind: str) -> None:
    model, shape = (Smooth(), (2, 4, 4)) if kind == "smooth" else (spiking(), (1, 8, 8))
    x, y, attack = some(5, shape), torch.tensor([0, 1, 2, 3, 0]), make(name)
    together = attack(model, x, y, threat=THREATS["linf"], seed=1)
    alone = torch.cat([attack(model, x[i : i + 1], y[i : i + 1], threat=THREATS["linf"], seed=1) for i in range(5)])
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = attack(model, x[order], y[order], threat=THREATS["linf"], seed=1)
    torch.testing.assert_close(alone, together, atol=1e-10, rtol=0)
    torch.testing.assert_close(shuffled, together[order], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_its_batches_is_kept_and_changes_nothing(name: str) -> None:
    model, x, y, attack, sizes = spiking(), some(7, (1, 8, 8)), torch.arange(7) % 4, make(name), list[int]()
    whole = attack(model, x, y, threat=THREATS["linf"], seed=1)
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    parts = attack(model, x, y, threat=THREATS["linf"], seed=1, batch_size=3)
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=0)
    assert max(sizes, default=0) <= 3  # noise and corruptions ask nothing
    for wrong in (0, -1):
        with pytest.raises(InvalidInput, match=f"batch_size must be at least 1, found {wrong}"):
            attack(model, x, y, threat=THREATS["linf"], seed=1, batch_size=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_stays_empty(name: str) -> None:
    empty = make(name)(Smooth(), some(0), torch.zeros(0, dtype=torch.int64), threat=THREATS["linf"], seed=1)
    assert empty.shape == (0, 2, 4, 4)


BAD_IMAGES = {
    "uint8": lambda x: (x * 255).to(torch.uint8),
    "nan": lambda x: x.masked_fill(x > 0.5, torch.nan),
    "infinite": lambda x: x.masked_fill(x > 0.5, torch.inf),
    "beyond the range": lambda x: x * 255,
    "below the range": lambda x: x - 0.5,
}
BAD_LABELS = {
    "float": torch.tensor([0.0, 1.0, 2.0]),
    "bool": torch.tensor([True, False, True]),
    "negative": torch.tensor([0, -1, 2]),
    "too few": torch.tensor([0, 1]),
    "a matrix": torch.zeros(3, 1, dtype=torch.int64),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_bad_images_are_refused(name: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match="images"):
        make(name)(Smooth(), BAD_IMAGES[fault](some(3)), torch.tensor([0, 1, 2]), threat=THREATS["linf"], seed=1)


@pytest.mark.parametrize("fault", BAD_LABELS)
@pytest.mark.parametrize("name", NAMES)
def test_bad_labels_are_refused(name: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match="labels"):
        make(name)(Smooth(), some(3), BAD_LABELS[fault], threat=THREATS["linf"], seed=1)


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(make(n), "gradient")])
def test_labels_beyond_the_classes_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="0 to 3"):
        make(name)(Smooth(), some(3), torch.tensor([0, 1, 4]), threat=THREATS["linf"], seed=1)


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_any_integer_type_mean_the_same(name: str) -> None:
    y = torch.tensor([0, 1, 2])
    results = [
        make(name)(Smooth(), some(3), y.to(t), threat=THREATS["linf"], seed=1) for t in (torch.int64, torch.int32, torch.uint8)
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


class Two(nn.Module):
    """Logits (0, w.x + b): the margin of class 0 is w.x + b, and its gradient is w everywhere."""

    def __init__(self, w: torch.Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x.flatten(1) @ self.w + self.b
        return torch.stack([torch.zeros_like(score), score], 1)


# An attack that sees labels alone learns nothing of a model on which nothing succeeds.
@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("name", [n for n in NAMES if make(n).bounded and not isinstance(make(n), HopSkipJump)])
def test_no_attack_beats_the_dual_norm_on_a_linear_model_and_none_helps_the_model(name: str, norm: str) -> None:
    w = torch.randn(32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    threat, model = THREATS[norm].model_copy(update={"eps": 0.2}), Two(w, -1000.0)
    # Never a success, which would end many attacks; a margin without cap, so that the loss is linear that far from it.
    attack = make(name)
    if hasattr(attack, "gradient"):
        attack = attack.model_copy(update={"gradient": InputGradient(loss=Margin(confidence=1e9))})
    x = 0.5 + 0.1 * (some(4) - 0.5)
    x_adv = attack(model, x, torch.zeros(4, dtype=torch.int64), threat=threat, seed=1)
    rise = (x_adv - x).flatten(1) @ w
    most = threat.eps * (w.abs().sum() if norm == "linf" else w.square().sum().sqrt())
    assert (rise <= most + 1e-9).all()
    assert (rise > 0.3 * most).all()


class Flat(nn.Module):
    """Logits that move with x but whose gradient is zero everywhere, as behind a step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.flatten(1).sum(1) * 0, x.flatten(1).sum(1) * 0 - 1], 1)


class Cut(nn.Module):
    """A step that autograd cannot see through at all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x.flatten(1) > 0.5).sum(1).to(x.dtype)
        return torch.stack([score + 40, score], 1)


STARTLESS = [
    n
    for n in NAMES
    if (isinstance(make(n), CW) or (isinstance(make(n), PGD) and not make(n).random_start)) and hasattr(make(n), "gradient")
]


@pytest.mark.parametrize("model", [Flat(), Cut()], ids=["flat", "cut"])
@pytest.mark.parametrize("name", [*STARTLESS, "pgd without start"])
def test_without_a_gradient_the_images_come_back_unchanged(name: str, model: nn.Module) -> None:
    attack = PGD(steps=3, random_start=False) if name == "pgd without start" else make(name)
    for norm in THREATS.values():
        x = some(3)
        assert torch.equal(attack(model, x, torch.tensor([0, 0, 0]), threat=norm, seed=1), x)


def test_the_list_of_startless_attacks_is_not_empty() -> None:
    assert {"fgsm", "bim", "mifgsm", "cw"} <= set(STARTLESS)


@pytest.mark.parametrize("name", [n for n in NAMES if not isinstance(make(n), Corruption | GaussianNoise | UniformNoise)])
def test_a_targeted_attack_approaches_its_target(name: str) -> None:
    model, x, y = Smooth().eval(), some(8), torch.arange(8) % 4
    targets = (y + 1) % 4
    attack = make(name)
    if isinstance(attack, CW):
        attack = CW(steps=60, learning_rate=0.1, c=100.0)
    x_adv = attack(model, x, y, threat=Linf(eps=0.5), seed=1, targets=targets)

    def nearness(images: torch.Tensor) -> torch.Tensor:
        return model(images).log_softmax(1).gather(1, targets[:, None])[:, 0]

    assert nearness(x_adv).mean() > nearness(x).mean()
    reached = (model(x_adv).argmax(1) == targets).float().mean()
    assert reached > (model(x).argmax(1) == targets).float().mean()


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip(name: str) -> None:
    attack = make(name)
    assert Attack.parse(json.loads(json.dumps(attack.to_json()))) == attack
    assert Attack.parse(attack.to_json()).to_json() == attack.to_json()
    assert hash(Attack.parse(attack.to_json())) == hash(attack)
    if name == "ensemble":  # of what?
        return
    assert Attack.parse(name) == (make(name) if not isinstance(Attack.members()[name], type) else Attack.members()[name]())
