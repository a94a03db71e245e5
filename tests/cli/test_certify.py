"""snnguard certify."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from snnguard import recipes

TINY = (
    "data.name=fake", "data.train_size=64", "data.validation_size=16", "data.test_size=24", "network.steps=1",
    "training.epochs=4", "training.batch_size=16", "training.device=cpu",
)  # fmt: skip
QUICK = ("--images", 6, "--n", 60, "--n0", 20, "--steps", 2, "--draws", 2)


@pytest.fixture(scope="module")
def _smoothed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certify") / "run"
    recipes.train(recipes.read("digits-smoothing", [*TINY, "defense.sigma=0.5"]), out=folder)
    return folder


@pytest.fixture
def smoothed(_smoothed: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(_smoothed, tmp_path / "run"))


def test_what_it_writes_and_says(snnguard: Any, smoothed: Path) -> None:
    said = snnguard("certify", smoothed, *QUICK, "--radii", "0.5,0.1,0.2", "--seed", 3)
    assert said.code == 0, said.err
    text = (smoothed / "certificate.json").read_text()
    found = json.loads(text)
    assert (found["sigma"], found["n"], found["n0"], found["alpha"]) == (0.5, 60, 20, 0.001)
    assert found["provenance"]["seed"] == 3
    assert found["radii"] == [0.1, 0.2, 0.5]
    assert len(found["labels"]) == len(found["classes"]) == len(found["reach"]) == 6
    for i, radius in enumerate(found["radii"]):
        rows = zip(found["labels"], found["classes"], found["reach"], strict=True)
        assert found["certified"][i] == sum(label == top and reach > radius for label, top, reach in rows)
        for counts in found["empirical"].values():
            assert found["certified"][i] <= counts[i] <= 6
    assert set(found["empirical"]) == {"pgd", "apgd"}
    assert found["contradictions"] == []
    assert found["certified"][0] > 0  # the made-up images are easy, so there is something to certify
    assert "certified: 6 test images" in found["provenance"]["data"]
    assert {"snnguard", "torch", "scipy"} <= set(found["provenance"]["versions"])
    assert str(smoothed.parent) not in text
    assert "certified %" in said.out
    assert "stands apgd %" in said.out
    assert f"{100 * found['certified'][0] / 6:.1f}" in said.out


def test_without_attack_and_the_same_again(snnguard: Any, smoothed: Path) -> None:
    texts = []
    for _ in range(2):
        assert snnguard("certify", smoothed, *QUICK, "--no-attack").code == 0
        texts.append(json.loads((smoothed / "certificate.json").read_text()))
    assert texts[0]["empirical"] == {}
    assert texts[0]["reach"] == texts[1]["reach"]
    assert texts[0]["radii"] == [0.0, 0.25, 0.5, 0.75, 1.0]  # 0 to 2 sigma


def test_a_contradiction_is_said_loudly_and_ends_with_1(snnguard: Any, smoothed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = recipes.certify
    broken = ((4, 0.1, "apgd"),)
    monkeypatch.setattr(
        recipes, "certify", lambda *a, **k: dataclasses.replace(real(*a, **k, ), contradictions=broken)
    )  # fmt: skip
    said = snnguard("certify", smoothed, *QUICK, "--no-attack")
    assert said.code == 1
    assert "CONTRADICTION: image 4 is certified at 0.1, and apgd broke it there" in said.out


def test_contradictions_are_certified_images_that_fell() -> None:
    import torch

    from snnguard.evaluation import Certificates

    module = importlib.import_module("snnguard.recipes.certified")
    found = Certificates(torch.tensor([1, 1, 1]), torch.tensor([0.3, 0.3, 0.1], dtype=torch.float64))
    left = {"pgd": torch.tensor([[True, True, False], [False, True, False]])}
    # The first image fell inside its radius at 0.2; the third fell at 0.1, which is as far as it is certified.
    assert module.contradictions(found, torch.tensor([1, 0, 1]), radii=[0.1, 0.2], left=left) == ((0, 0.2, "pgd"),)


def test_a_network_without_noise_is_refused(snnguard: Any, run: Path) -> None:
    said = snnguard("certify", run)
    assert said.code == 2
    assert "`smoothing` or `rsc`" in said.err
    assert not (run / "certificate.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--radii", "0.1;0.2"), "0.1;0.2"),
        (("--radii", "-1"), "0 or more"),
        (("--radii", "nan"), "0 or more"),
        (("--alpha", "0"), "between 0 and 1"),
        (("--n", "0"), "--n"),
        (("--images", "0"), "--images"),
    ],
)
def test_wrong_requests(arguments: tuple[str, ...], said: str, snnguard: Any, smoothed: Path) -> None:
    found = snnguard("certify", smoothed, *arguments)
    assert found.code == 2
    assert said in found.err
    assert not (smoothed / "certificate.json").exists()
