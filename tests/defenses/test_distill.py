"""Distillation: the divergence by hand, who learns, who teaches."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence

from snnguard.data import Dataset, fake
from snnguard.defenses import REG, AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.distill import Distill
from snnguard.errors import RequestError
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.training import SGD, Outcome, Training, fit

DOUBLE = torch.float64
Y = torch.tensor([0, 1, 2, 0])


def penalty(defense: Distill, taught: Tensor, logits: Tensor, teacher: nn.Module | None = None) -> Tensor:
    """The penalty for a teacher that returns its images, which are `taught`."""
    step = Step(progress=0.5, seed=0, membranes={}, teachers={"distill": teacher or nn.Identity()})
    found = defense.penalty(nn.Identity(), Batch(x=logits, y=Y, clean=taught), logits, step)
    assert found is not None
    return found


def logits(seed: int) -> Tensor:
    return 3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_by_hand() -> None:
    # T = 2: the teacher's (ln 9, 0) softens to (3/4, 1/4), the student's (0, 0) to (1/2, 1/2).
    taught, student = torch.tensor([[math.log(9), 0]], dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE)
    kl = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    assert float(penalty(Distill(weight=0.5), taught, student)) == pytest.approx(0.5 * 4 * kl)
    at_one = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert float(penalty(Distill(temperature=1), taught, student)) == pytest.approx(at_one)


@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
def test_it_is_the_mean_divergence_of_the_softened_predictions(t: float) -> None:
    taught, student = logits(1), logits(2)
    kl = kl_divergence(Categorical(logits=taught / t), Categorical(logits=student / t)).mean()
    torch.testing.assert_close(penalty(Distill(weight=0.3, temperature=t), taught, student), 0.3 * t * t * kl)


def test_the_size_of_the_gradient_does_not_fall_with_the_temperature() -> None:
    # d/dz = weight T (softmax(z/T) - softmax(z_teacher/T)) / N, which for high T is the difference of centred logits / (K N).
    taught, student = logits(1), logits(2).requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(Distill(temperature=1e6), taught, student), student)
    difference = student.detach() - taught
    torch.testing.assert_close(gradient, (difference - difference.mean(1, keepdim=True)) / (3 * 4), rtol=1e-3, atol=1e-6)


def test_zero_for_a_student_that_is_the_teacher_and_finite_for_saturated_logits() -> None:
    student = logits(1).requires_grad_()
    term = penalty(Distill(), student.detach(), student)
    assert float(term.detach()) == 0
    assert torch.autograd.grad(term, student)[0].abs().max() < 1e-15
    hard = torch.tensor([[1e4, -1e4, 0]], requires_grad=True)
    term = penalty(Distill(), -hard.detach(), hard)
    assert torch.isfinite(term)
    assert torch.isfinite(torch.autograd.grad(term, hard)[0]).all()


def test_only_the_student_learns_and_the_teacher_sees_the_clean_images_in_eval_mode() -> None:
    torch.manual_seed(0)
    student, teacher = nn.Linear(5, 3), nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)).train()
    clean, x = torch.rand(4, 5), torch.rand(4, 5)
    step = Step(progress=0.5, seed=0, membranes={}, teachers={"distill": teacher})
    term = Distill(temperature=1).penalty(student, Batch(x=x, y=Y, clean=clean), student(x), step)
    assert term is not None
    term.backward()
    assert student.weight.grad is not None
    assert student.weight.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert teacher.training
    expected = kl_divergence(Categorical(logits=teacher[0](clean)), Categorical(logits=student(x))).mean()
    torch.testing.assert_close(term, expected)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return fake(classes=3, image_shape=(1, 8, 8), train=16, validation=8, test=8)


def network(data: Dataset, seed: int) -> SpikingClassifier:
    return construct(
        Network(name="vgg4-tiny", steps=2), classes=3, image_shape=(1, 8, 8), mean=data.mean, std=data.std, seed=seed
    )


def train(
    data: Dataset, defense: Defense, teachers: dict[str, nn.Module] | None = None
) -> tuple[dict[str, Tensor], Outcome]:  # fmt: skip
    model = network(data, 0)
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    outcome = fit(model, data.train, data.validation, defense=defense, training=training, teachers=teachers)
    return model.state_dict(), outcome


def test_training_with_a_teacher_without_one_and_with_one_too_many(data: Dataset) -> None:
    for defense in (Distill(), Stack((REG(), Distill()))):
        with pytest.raises(RequestError, match=r"learns from the teachers \['distill'\], found none"):
            train(data, defense)
    with pytest.raises(RequestError, match=r"none, found \['distill'\]"):
        train(data, Distill(weight=0), {"distill": network(data, 1)})
    teacher = network(data, 1)
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    weights, outcome = train(data, Distill(), {"distill": teacher})
    plain, _ = train(data, Stack())
    assert outcome.lines[-1]["penalty.distill"] > 0
    assert any(not torch.equal(t, plain[name]) for name, t in weights.items())
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
    without, outcome = train(data, Distill(weight=0))
    assert all(torch.equal(t, plain[name]) for name, t in without.items())
    assert "penalty.distill" not in outcome.lines[-1]


def test_the_teacher_is_a_defense_of_its_own() -> None:
    assert Distill().teachers() == {"distill": Stack()}
    assert Distill(weight=0).teachers() == {}
    other = Defense.parse({"kind": "distill", "teacher": {"kind": "at", "threat": {"kind": "linf", "eps": 0.1}}})
    assert isinstance(other, Distill)
    assert isinstance(other.teacher, AdversarialTraining)
    assert Defense.parse(other.to_json()) == other
    assert hash(other) == hash(Defense.parse(other.to_json()))
    assert Stack((REG(), other)).teachers() == {"distill": other.teacher}
