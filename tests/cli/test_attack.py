"""snnguard attack."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from snnguard.attacks import predict
from snnguard.cli.attack import grid
from snnguard.data import load
from snnguard.recipes import open_run


@pytest.mark.parametrize(
    ("name", "fields", "eps"),
    [
        ("pgd", ("steps=2",), 0.1),
        ("fgsm", (), None),
        ("mifgsm", ("steps=2", "momentum=0.5"), 8 / 255),
        ("cw", ("steps=2",), None),
    ],
)
def test_the_arrays_hold_together(name: str, fields: tuple[str, ...], eps: float | None, snnguard: Any, run: Path) -> None:
    more = () if eps is None else ("--eps", eps)
    said = snnguard("attack", run, *fields, "--attack", name, "--images", 10, *more)
    assert said.code == 0, said.err
    with np.load(run / f"attack-{name}.npz", allow_pickle=False) as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype != bool}
    assert {"clean", "adversarial", "labels", "clean_prediction", "adversarial_prediction"} == set(arrays)
    opened = open_run(run)
    dataset = load(opened.recipe.data)
    clean, adversarial = arrays["clean"], arrays["adversarial"]
    assert torch.equal(clean, dataset.test.pixels(slice(0, 10)))
    assert torch.equal(arrays["labels"], dataset.test.labels[:10])
    assert clean.shape == adversarial.shape
    assert adversarial.dtype == torch.float32
    assert 0 <= adversarial.min() <= adversarial.max() <= 1
    if name != "cw":
        assert (adversarial - clean).abs().max() <= (eps or opened.recipe.threat.eps) + 1e-6
        assert not torch.equal(adversarial, clean)
    model, _ = opened.model(dataset)
    assert torch.equal(predict(model, clean).argmax(1), arrays["clean_prediction"])
    assert torch.equal(predict(model, adversarial).argmax(1), arrays["adversarial_prediction"])
    with Image.open(run / f"attack-{name}.png") as picture:
        picture.load()
        assert picture.size == (8 * 33 * 4, 4 * 33 * 4)


def test_where_it_goes_and_that_it_is_repeatable(snnguard: Any, run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert (
            snnguard("attack", run, "steps=2", "--images", 4, "--seed", 3, "--out", tmp_path / "deep" / f"{name}.npz").code == 0
        )
    with np.load(tmp_path / "deep" / "a.npz") as one, np.load(tmp_path / "deep" / "b.npz") as other:
        assert np.array_equal(one["adversarial"], other["adversarial"])
    assert (tmp_path / "deep" / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attack", "pdg"), "did you mean 'pgd'"),
        (("steps=0",), "steps"),
        (("stepps=3",), "stepps"),
        (("steps",), "looks like"),
        (("--eps", "-1"), "eps"),
        (("--attack", "fgsm", "steps=2"), "steps"),
    ],
)
def test_wrong_requests(arguments: tuple[str, ...], said: str, snnguard: Any, run: Path) -> None:
    before = sorted(p.name for p in run.iterdir())
    found = snnguard("attack", run, *arguments)
    assert found.code == 2
    assert said in found.err
    assert sorted(p.name for p in run.iterdir()) == before


def test_the_grid_alternates_clean_and_attacked_rows() -> None:
    x, x_adv = torch.zeros(10, 1, 4, 4), torch.full((10, 1, 4, 4), 0.5)
    pixels = np.asarray(grid(x, x_adv, columns=8, scale=1).convert("L"))
    assert pixels.shape == (20, 40)
    assert [int(pixels[row, 0]) for row in (0, 5, 10, 15)] == [0, 128, 0, 128] or [
        int(pixels[row, 0]) for row in (0, 5, 10, 15)
    ] == [0, 127, 0, 127]
    assert pixels[4].min() == pixels[9].min() == 255
    assert pixels[10, 10:].min() == 255
