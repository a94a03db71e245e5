"""Where the time of a training step and of an input gradient goes: the share of each operation, by PyTorch's profiler.

Says why a step cannot be much faster than it is. Writes benchmarks/where_time_goes.json. Run: make bench
"""

import argparse
import json
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from snnguard.bench import CONTESTANTS, Case
from snnguard.bench.speed import hosted
from snnguard.evaluation import gather

KINDS = {
    "convolutions": ("convolution", "conv2d", "_Convolution"),
    "linear layers": ("addmm", "aten::mm", "linear", "_Linear"),
    "normalisation": ("batch_norm",),
    "neurons": ("_Native",),
    "spikes to bits and back": ("packing",),
    "pooling": ("pool", "Pool"),
    "merges of residuals": ("_Combined", "bmm", "addcmul"),
    "optimiser": ("Optimizer", "_fused", "_foreach", "aten::add_", "aten::mul_"),
}
"""Parts of the names of the operations of each kind; the first that fits counts."""


def shares(case: Case, repetitions: int) -> dict[str, float]:
    """Share of each kind in the CPU time that operations spend themselves."""
    (ours,) = (one for one in CONTESTANTS if one.name == "snnguard")
    act = hosted(ours, case, "cpu")
    act()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(repetitions):
            act()
    spent = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), "everything else")
        spent[kind] += event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: time / total for kind, time in spent.items()}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    cases = [Case(work=work, network=name) for name in ("vgg11", "wrn16") for work in ("training step", "input gradient")]
    found = {str(case): shares(case, given.repetitions) for case in cases}
    where = gather(seed=0)
    kept = {"shares": found, "hardware": where.hardware, "versions": where.versions, "created": where.created,
            "command": where.command}  # fmt: skip
    given.out.write_text(json.dumps(kept, indent=1) + "\n")
    for case, row in found.items():
        print(case, {kind: f"{100 * share:.1f} %" for kind, share in row.items()})


if __name__ == "__main__":
    main()
