"""What an attack without gradients sees, what it keeps, and where its random numbers come from."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnguard.attacks import Aim
from snnguard.attacks.pieces import at_most
from snnguard.attacks.queries import Queries, Search, Throws
from snnguard.errors import InvalidInput


def asked(answers: list[Tensor], sizes: list[int] | None = None) -> Callable[[Tensor], Tensor]:
    """A model that gives these logits, one after the other and over again."""
    calls = []

    def model(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        calls.append(len(x))
        if sizes is not None:
            sizes.append(len(x))
        return answers[(len(calls) - 1) % len(answers)].expand(len(x), -1)

    return model


def test_an_answer_is_the_lead_and_whether_the_aim_is_reached() -> None:
    x = torch.zeros(3, 1, 1, 1)
    logits = torch.tensor([[1.0, 3.0, 2.5]])
    answer = Queries(asked([logits]), 3, draws=1)(x, Aim(torch.tensor([0, 1, 2])))
    assert answer.lead.tolist() == [2, -0.5, 0.5]
    assert answer.reached.tolist() == [True, False, True]
    target = Queries(asked([logits]), 3, draws=1)(x, Aim(torch.tensor([0, 0, 0]), torch.tensor([1, 2, 2]), exact=True))
    assert target.lead.tolist() == [0.5, -0.5, -0.5]
    assert target.reached.tolist() == [True, False, False]


def test_over_several_draws_the_leads_are_averaged_and_the_majority_decides() -> None:
    x, y = torch.zeros(1, 1, 1, 1), Aim(torch.tensor([0]))
    up, down = torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 0.0]])
    for answers, lead, reached in (
        ([up, down], -1.5, False),
        ([up, up, down], -2 / 3, True),
        ([down, down, up], -7 / 3, False),
    ):
        answer = Queries(asked(answers), 1, draws=len(answers))(x, y)
        assert float(answer.lead) == pytest.approx(lead)
        assert bool(answer.reached) is reached


def test_no_more_images_at_once_than_the_attack_was_called_with_or_256() -> None:
    for size, together in ((3, [256, 256, 188]), (400, [400, 300])):
        sizes: list[int] = []
        x = torch.zeros(700, 1)
        answer = Queries(asked([torch.tensor([[0.0, 1.0]])], sizes), size, draws=1)(x, Aim(torch.zeros(700, dtype=torch.int64)))
        assert sizes == together
        assert len(answer.lead) == len(answer.reached) == 700


def test_several_batches_are_asked_about_a_batch_at_a_time() -> None:
    for batch, together in ((100, [100] * 7), (300, [300, 300, 100]), (9000, [700])):
        sizes: list[int] = []
        with at_most(batch):
            ask = Queries(asked([torch.tensor([[0.0, 1.0]])], sizes), 700, draws=1)
        ask(torch.zeros(700, 1), Aim(torch.zeros(700, dtype=torch.int64)))
        assert sizes == together


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 to 1"):
        Queries(asked([torch.zeros(1, 2)]), 1, draws=1)(torch.zeros(1, 1), Aim(torch.tensor([2])))


def by_pixel(x: Tensor) -> Tensor:
    """The lead to leave class 0 is the first pixel; the second one says whether another class is chosen for it."""
    return torch.stack([torch.zeros(len(x)), x[:, 0]], 1)


def offers(points: list[float], *, draws: int = 1, early_stop: bool = False) -> tuple[Search, list[float]]:
    x = torch.full((1, 1), -9.0)
    search, kept = Search(by_pixel, x, Aim(torch.tensor([0])), draws=draws, early_stop=early_stop), []
    for point in points:
        if len(search.live):
            search.offer(torch.tensor([[point]]))
        kept.append(float(search.best))
    return search, kept


def test_the_search_keeps_the_highest_lead_and_the_first_of_equals() -> None:
    search, kept = offers([-3.0, -5.0, -2.0, -2.0, 1.0, 0.5, 4.0])
    assert kept == [-3, -3, -2, -2, 1, 1, 4]
    assert search.won.tolist() == [True]
    assert float(search.lead) == 4


def test_a_success_counts_more_than_a_lead() -> None:
    """By way of class 1, out of class 0: at 0.5 it is left for class 2, where class 1 lies far behind."""

    def model(x: Tensor) -> Tensor:
        other = torch.where(x == 0.5, 1.0, -1.0)
        return torch.cat([x * 0, torch.where(x == 0.5, -3.0, x - 1), other], 1)

    x, aim = torch.zeros(1, 1), Aim(torch.tensor([0]), torch.tensor([1]))
    search = Search(model, x, aim, draws=1, early_stop=False)
    kept, leads = [], []
    for point in (0.8, 0.5, 0.9):
        search.offer(torch.tensor([[point]]))
        leads.append(float(search.ask(torch.tensor([[point]]), aim).lead))
        kept.append(float(search.best))
    assert leads == pytest.approx([-0.2, -3, -0.1])
    assert kept == pytest.approx([0.8, 0.5, 0.5])


def test_with_early_stop_a_sample_leaves_at_its_first_success() -> None:
    search, kept = offers([-3.0, 1.0, 4.0], early_stop=True)
    assert kept == [-3, 1, 1]
    assert len(search.live) == 0


def test_with_draws_nothing_is_won_and_nobody_leaves() -> None:
    search, kept = offers([1.0, 4.0, 2.0], draws=2, early_stop=True)
    assert kept == [1, 4, 4]
    assert search.won.tolist() == [False]
    assert len(search.live) == 1


def test_random_numbers_belong_to_the_sample_however_many_are_left() -> None:
    x = torch.arange(4.0).reshape(4, 1)
    whole, few = Throws(x, 1, count=3), Throws(x[1:3], 1, count=3)
    both, one = torch.arange(4), torch.tensor([1])
    for query in range(250):
        everyone = whole.take(both if query < 90 else both[1:3])
        some = few.take(torch.arange(2) if query < 150 else one)
        expected = everyone[1:3] if query < 90 else everyone
        assert torch.equal(some, expected if query < 150 else expected[1:])
    assert everyone.dtype == torch.float64


def test_random_numbers_are_uniform_and_fresh() -> None:
    throws = Throws(torch.arange(8.0).reshape(8, 1), 1, count=5)
    numbers = torch.stack([throws.take(torch.arange(8)) for _ in range(300)])
    assert len(numbers.flatten().unique()) == numbers.numel()
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    # Mean and variance of the uniform distribution, to four standard errors.
    assert abs(numbers.mean() - 0.5) < 4 * (1 / 12 / numbers.numel()) ** 0.5
    assert abs(numbers.var() - 1 / 12) < 4 * (1 / 180 / numbers.numel()) ** 0.5
