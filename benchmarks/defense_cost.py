"""What a training step costs with every defense, as a ratio to the plain step.

Rounds: in each, every defense makes one step, next to a plain one, so that a noisy machine disturbs both alike; the figure
is the median of the ratios. Writes benchmarks/defense_cost.json, and the ratios alone for `snnguard list defenses` to
src/snnguard/defenses/cost.json. Run: make bench; with names of defenses, only their lines of the same machine are renewed.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from snnguard import pages
from snnguard.data import fake
from snnguard.defenses import Defense, Stack
from snnguard.evaluation import gather
from snnguard.networks import Network, construct
from snnguard.training import SGD, Training
from snnguard.training.fit import Loop, one_device

HERE = Path(__file__).resolve()
PACKAGED = HERE.parent.parent / "src/snnguard/defenses/cost.json"


def loop(defense: Defense, network: str, batch: int) -> Loop:
    """A training loop that can be stepped; teachers are untrained networks, which cost the same."""
    data = fake(train=batch * 4, validation=8, test=8)

    def made(part: Defense) -> object:
        designed = part.design(Network(name=network, steps=4))
        return construct(designed, classes=10, image_shape=data.image_shape, mean=data.mean, std=data.std)

    training = Training(epochs=1000, batch_size=batch, optimiser=SGD(learning_rate=0.01))
    teachers = {name: made(teacher) for name, teacher in defense.teachers().items()}
    return Loop(one_device(training), made(defense), data.train, data.validation, defense, training, None, 0, None, teachers)


def ratios(names: list[str], network: str, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of a step and median ratio to the plain step beside it."""
    plain, loops = loop(Stack(), network, batch), {name: loop(Defense.parse(name), network, batch) for name in names}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name, one in loops.items():
            pair = (timed(one), timed(plain))
            if number:
                times[name].append(pair)
    return {
        name: {
            "seconds": statistics.median(own for own, _ in pairs),
            "ratio": round(statistics.median(own / beside for own, beside in pairs), 2),
        }
        for name, pairs in times.items()
    }


def timed(one: Loop) -> float:
    """Seconds of one step."""
    began = time.perf_counter()
    one.step()
    return time.perf_counter() - began


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="defenses; default all")
    parser.add_argument("--network", default="vgg5-slim")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    names = given.names or sorted(name for name, make in Defense.members().items() if make.__module__.startswith("snnguard."))
    with pages.kept():  # as in `fit`
        found = ratios(names, given.network, given.batch, given.rounds)
    for name, row in sorted(found.items(), key=lambda item: item[1]["ratio"]):
        print(f"{name:22} {1000 * row['seconds']:9.1f} ms   {row['ratio']:.2f}")
    where = gather(seed=0)
    what = f"{given.network}, T=4, batch {given.batch}, 3x32x32, median of {given.rounds} rounds, ratio to the plain step"
    if given.names:
        before = json.loads(HERE.with_suffix(".json").read_text())
        if (before["what"], before["hardware"]) != (what, where.hardware):
            raise SystemExit("the file was measured otherwise, or on another machine; measure all of it anew")
        found = {**before["steps"], **found}
    result = {"what": what, "steps": found, "hardware": where.hardware, "versions": where.versions}
    result |= {"created": where.created, "command": where.command}
    HERE.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    PACKAGED.write_text(json.dumps({name: row["ratio"] for name, row in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
