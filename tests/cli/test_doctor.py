"""snnguard doctor."""

from typing import Any

import torch

from snnguard.cli.doctor import NEEDED, check_kernel


def test_what_it_says(snnguard: Any) -> None:
    said = snnguard("doctor")
    assert said.code == 0
    for name in (*NEEDED, "python", "device", "threads", "kernel"):
        assert name in said.out
    assert torch.__version__.partition("+")[0] in said.out
    assert "good: spikes equal" in said.out


def test_it_leaves_the_generator_of_the_caller_alone() -> None:
    assert check_kernel(torch.device("cpu")).startswith("good")
