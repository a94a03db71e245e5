"""The memory of a gradient rule: each sample keeps what is its own, whichever others are still there."""

import torch

from snnguard.neurons import Memory


def test_rows_are_read_and_written_alone() -> None:
    memory, like = Memory(4), torch.zeros(2, 4, 3)
    assert torch.equal(memory.about(None).recall("a", like, start=1.5), torch.full((2, 4, 3), 1.5))
    rows = torch.tensor([3, 1])
    memory.about(rows).keep("a", torch.arange(12.0).reshape(2, 2, 3), start=-1)
    everyone = memory.about(None).recall("a", like, start=0)
    assert torch.equal(everyone[:, rows], torch.arange(12.0).reshape(2, 2, 3))
    assert (everyone[:, [0, 2]] == -1).all()
    assert torch.equal(memory.about(torch.tensor([1])).recall("a", like[:, :1], start=0), everyone[:, [1]])
    assert torch.equal(memory.recall("another", like[:, :1], start=7), torch.full((2, 1, 3), 7.0))


def test_a_call_that_does_not_learn_changes_nothing() -> None:
    memory = Memory(1)
    memory.about(None).keep("a", torch.ones(1, 1, 1), start=0)
    memory.about(None, learns=False).keep("a", torch.zeros(1, 1, 1), start=0)
    assert float(memory.recall("a", torch.zeros(1, 1, 1), start=5)) == 1
