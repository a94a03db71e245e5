"""What counts as a success, and how far it is, written out by hand."""

import pytest
import torch

from snnguard.attacks import DLR, Aim, CrossEntropy

LOGITS = torch.tensor([[1.0, 5.0, 3.0, -1.0], [4.0, 2.0, 0.0, 3.0]])
LEAVE, REACH = torch.tensor([1, 1]), torch.tensor([2, 3])


@pytest.mark.parametrize(
    ("aim", "reached", "lead"),
    [
        (Aim(LEAVE), [False, True], [3 - 5, 4 - 2]),
        (Aim(LEAVE, REACH, exact=True), [False, False], [3 - 5, 3 - 4]),
        (Aim(LEAVE, REACH), [False, True], [3 - 5, 3 - 2]),
    ],
    ids=["leave", "reach", "leave by way of"],
)
def test_success_and_lead(aim: Aim, reached: list[bool], lead: list[float]) -> None:
    assert aim.reached(LOGITS).tolist() == reached
    assert aim.lead(LOGITS).tolist() == lead


def test_by_way_of_a_class_the_losses_know_the_class_to_leave() -> None:
    # Croce & Hein 2020, eq. 7: (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2).
    expected = [(3 - 5) / (5 - (1 - 1) / 2), (3 - 2) / (4 - (2 + 0) / 2)]
    assert DLR()(LOGITS, Aim(LEAVE, REACH)).tolist() == pytest.approx(expected)
    assert torch.equal(CrossEntropy()(LOGITS, Aim(LEAVE, REACH)), LOGITS.log_softmax(1).gather(1, REACH[:, None])[:, 0])


def test_some_of_the_samples() -> None:
    for rows in (torch.tensor([True, False]), torch.tensor([0])):
        part = Aim(LEAVE, REACH, exact=True)[rows]
        assert (part.leave.tolist(), part.exact) == ([1], True)
        assert part.reach is not None
        assert part.reach.tolist() == [2]
    assert Aim(LEAVE)[torch.tensor([1])].reach is None


def test_soft_labels_stand_for_their_most_likely_class() -> None:
    soft = torch.tensor([[0.1, 0.7, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1]])
    assert torch.equal(Aim(soft).reached(LOGITS), Aim(LEAVE).reached(LOGITS))
    assert torch.equal(Aim(soft, REACH).lead(LOGITS), Aim(LEAVE, REACH).lead(LOGITS))
