"""Made-up records: whoever asks for one says how many of how many images survive what."""

import base64
import random
import struct
import zlib
from typing import Any

import pytest

from snnguard.record import AttackResult, Curve, Flags, Interval, Membrane, Picture, Provenance, Record, Suspicion


def some_flags(hits: int, total: int) -> Flags:
    """The first `hits` of `total`: nested, so that the worst case of several is the smallest of them."""
    return Flags(tuple(i < hits for i in range(total)))


def an_attack(name: str, hits: int, total: int, **fields: Any) -> AttackResult:
    kind, _, rule = name.partition("/")
    values: dict[str, Any] = {"attack": {"kind": kind, "bounded": True}, "rule": rule, "seed": 0, "seconds": 1.5}
    return AttackResult(name=name, correct=some_flags(hits, total), **(values | fields))


def unbounded(name: str, hits: int, total: int) -> AttackResult:
    return an_attack(name, hits, total, attack={"kind": name, "bounded": False})


def a_record(name: str, clean: int = 95, total: int = 100, attacks: Any = None, **fields: Any) -> Record:
    """`attacks` maps names to hits, or is a sequence of results."""
    if attacks is None or isinstance(attacks, dict):
        attacks = [an_attack(n, hits, total) for n, hits in (attacks or {}).items()]
    values: dict[str, Any] = {
        "threat": {"kind": "linf", "eps": 8 / 255, "low": 0.0, "high": 1.0},
        "suite": "paper",
        "labels": tuple(map(str, range(10))),
        "suspicions": (),
        "provenance": Provenance(
            command="snnguard evaluate runs/x",
            created="2025-01-02T03:04:05",
            commit="abc1234",
            versions={"torch": "2.6"},
            hardware="2 CPU cores",
            recipe={"name": "made-up", "seed": 0},
            data="digits",
            weights="sha256:00",
            seed=0,
        ),
    }
    return Record(name=name, clean=some_flags(clean, total), attacks=tuple(attacks), **(values | fields))


def a_suspicion(code: str = "fgsm-below-pgd", message: str = "fgsm/bptt leaves less than pgd-7/bptt") -> Suspicion:
    return Suspicion(code=code, message=message, measured=0.5, limit=0.0)


def a_membrane(layer: str, mean: float = -0.5, std: float = 0.8, seed: int = 0) -> Membrane:
    rng, bins = random.Random(seed), 60
    edges = tuple(-3 + 6 * i / bins for i in range(bins + 1))
    counts = [0] * bins
    for _ in range(4000):
        counts[min(bins - 1, max(0, int((rng.gauss(mean, std) + 3) / 6 * bins)))] += 1
    return Membrane(
        layer=layer,
        edges=edges,
        counts=tuple(counts),
        mean=mean,
        std=std,
        window=1.0,
        overlap=0.6,
        proximal=0.2,
        proximal_band=0.25,
        rate=0.15,
        dead=0.05,
    )


def a_curve(total: int, hits: list[int], name: str = "pgd-7/bptt") -> Curve:
    eps = tuple(i * 2 / 255 for i in range(len(hits)))
    return Curve(name=name, eps=eps, accuracy=tuple(Interval.of(h, total) for h in hits))


def a_png(size: int = 8, seed: int = 0) -> str:
    """A grey picture of random pixels, as PNG in base64, by the standard library alone."""
    rng = random.Random(seed)
    rows = b"".join(b"\0" + bytes(rng.randrange(256) for _ in range(size)) for _ in range(size))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def a_picture(seed: int = 0, **fields: Any) -> Picture:
    values: dict[str, Any] = {
        "label": "3",
        "clean_label": "3",
        "adversarial_label": "8",
        "clean": a_png(seed=seed),
        "adversarial": a_png(seed=seed + 1),
        "difference": a_png(seed=seed + 2),
        "amplification": 10.0,
    }
    return Picture(**(values | fields))


def some_epochs(count: int = 8) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "epoch": i,
            "loss": 2.3 / (i + 1),
            "train_accuracy": 1 - 0.8 / (i + 1),
            "validation_accuracy": 1 - 0.9 / (i + 1),
            "learning_rate": 0.1 * (1 - i / count),
            "penalty.mpd-sgr": 0.4 / (i + 1),
            "rate.conv1": 0.2,
            "rate.conv2": 0.1 + 0.01 * i,
            "overlap": 0.7 - 0.03 * i,
            "proximal": 0.3,
            "dead": 0.0,
        }
        for i in range(count)
    )


def some_histograms(epochs: tuple[dict[str, Any], ...], *layers: str) -> tuple[dict[str, Any], ...]:
    """The same lines with a histogram of each layer, of which all lies in one bin: the next one in each epoch."""
    return tuple(
        line
        | {f"histogram.{layer}": [1000 * (place == 10 + i) for place in range(40)] for layer in layers}
        | {
            f"{name}.{layer}": value
            for layer in layers
            for name, value in (("mean", -2 + 0.2 * i), ("std", 0.5), ("overlap", 0.25))
        }
        for i, line in enumerate(epochs)
    )


def a_page() -> list[Record]:
    """Five records as a demo would make them: two gradient rules, unbounded attacks, curves, pictures, a suspicion."""
    names = ("undefended", "mpd-sgr", "tgo", "adversarial training", "at + mpd-sgr")
    records = []
    for index, name in enumerate(names):
        strength = (0.02, 0.03, 0.05, 0.5, 0.55)[index]
        total, clean = 1000, 970 - 12 * index
        attacks = []
        for rule, factor in (("bptt", 1.0), ("rate", 1.1)):
            steps = zip(
                ("fgsm", "rfgsm", "pgd-7", "bim-7", "pgd-10", "pgd-20", "pgd-40"),
                (14 if index == 2 else 5, 4, 1.6, 1.5, 1.2, 1.1, 1),
                strict=True,
            )
            for attack, gain in steps:
                kept = min(clean - 50, int(total * strength * factor * (gain if index < 3 else 1 + gain / 20)))
                parameters = {
                    "kind": "pgd",
                    "steps": 7,
                    "step_size": 0.01,
                    "random_start": True,
                    "bounded": True,
                    "gradient": {
                        "kind": "input-gradient",
                        "loss": {"kind": "cross-entropy"},
                        "draws": 1,
                        "rule": {"kind": rule, "surrogate": {"kind": "triangle", "gamma": 1.0}},
                    },
                }
                attacks.append(
                    an_attack(
                        f"{attack}/{rule}",
                        kept,
                        total,
                        attack=parameters,
                        mean_linf=8 / 255,
                        mean_l2=0.9,
                        zero_gradient_share=0.01,
                    )
                )
        attacks += [unbounded("cw/bptt", 10 * index, total), unbounded("gaussian", clean - 20, total)]
        attacks += [unbounded("uniform", clean - 9, total)]
        message = "pgd-7/bptt leaves 80 of 1,000 images, fgsm/bptt 700: an excess of 62 points where 40 are usual"
        records.append(
            a_record(
                name,
                clean,
                total,
                attacks,
                suspicions=(a_suspicion("one-step-gap", message),) if index == 2 else (),
                membranes=tuple(a_membrane(f"conv{i}", -0.3 - 0.2 * index, 0.6 + 0.1 * index, i) for i in range(1, 5)),
                curves=(a_curve(total, [clean, *(int(clean * strength ** (j / 4)) for j in range(1, 7))]),),
                pictures=tuple(
                    a_picture(10 * index + j, attack=("FGSM", "FGSM", "PGD-20")[j], adversarial_label="838"[j])
                    for j in range(3)
                ),
                epochs=some_histograms(some_epochs(), "conv1", "conv2", "conv3", "conv4"),
                notes={"best_epoch": 7},
            )
        )
    return records


@pytest.fixture
def attack():
    return an_attack


@pytest.fixture
def loose():
    return unbounded


@pytest.fixture
def record():
    return a_record


@pytest.fixture
def suspicion():
    return a_suspicion


@pytest.fixture
def membrane():
    return a_membrane


@pytest.fixture
def curve():
    return a_curve


@pytest.fixture
def picture():
    return a_picture


@pytest.fixture
def epochs():
    return some_epochs


@pytest.fixture
def logged():
    return some_histograms


@pytest.fixture
def page():
    return a_page()
