"""snnguard attack."""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from snnguard import recipes, rng
from snnguard.attacks import Attack, predict
from snnguard.data import load
from snnguard.evaluation import to_image
from snnguard.record import write_atomic
from snnguard.threat import Threat
from snnguard.training import resolve_device

from .main import app, console

BATCH = 128
"""Images attacked at once; the results do not depend on it."""


@app.command()
def attack(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Fields of the attack, e.g. steps=20 step_size=0.01")] = None,
    name: Annotated[str, typer.Option("--attack", help="Which attack (snnguard list attacks).")] = "pgd",
    eps: Annotated[float | None, typer.Option(min=0, help="Radius in raw units; default the recipe's.")] = None,
    images: Annotated[int, typer.Option(min=1)] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default RUN/attack-NAME.npz and .png.")] = None,
) -> None:
    """Attack test images; write them as npz (clean, adversarial, labels, predictions) and a picture grid."""
    run = recipes.open_run(folder, data_path=data_path)
    chosen: Attack = Attack.parse(recipes.overridden({"kind": name}, overrides or []))
    threat = run.recipe.threat if eps is None else Threat.parse({**run.recipe.threat.to_json(), "eps": eps})
    dataset = load(run.recipe.data)
    device = resolve_device(run.recipe.training.device)
    model, _ = run.model(dataset)
    model.to(device)
    part = slice(0, images)
    x, y = dataset.test.pixels(part, device), dataset.test.labels[part].to(device)
    batches = zip(x.split(BATCH), y.split(BATCH), strict=True)
    x_adv = torch.cat([chosen(model, a, b, threat=threat, seed=seed) for a, b in batches])
    with rng.scope(rng.derive(seed, "judgement")):
        draws = 10 if model.stochastic else 1
        before, after = (predict(model, images_, draws=draws).argmax(1) for images_ in (x, x_adv))
    target = out or folder / f"attack-{name}"
    target = target.with_suffix("") if target.suffix in (".npz", ".png") else target
    npz, png = target.with_name(f"{target.name}.npz"), target.with_name(f"{target.name}.png")
    arrays = {
        "clean": x,
        "adversarial": x_adv,
        "labels": y,
        "clean_prediction": before,
        "adversarial_prediction": after,
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{key: value.cpu().numpy() for key, value in arrays.items()})
    write_atomic(npz, file.getvalue())
    file = io.BytesIO()
    grid(x, x_adv).save(file, "PNG")
    write_atomic(png, file.getvalue())
    right = f"{100 * float((before == y).float().mean()):.1f} % right clean"
    kept = f"{100 * float((after == y).float().mean()):.1f} % right attacked"
    console.print(f"{chosen} under {threat}: {right}, {kept}, {len(x)} images. Written: {npz}, {png}")


def grid(x: Tensor, x_adv: Tensor, columns: int = 8, scale: int = 4) -> Image.Image:
    """Rows of clean images, each followed by a row of the attacked ones, with a pixel of white between them."""
    rows = []
    for a, b in zip(x.cpu().split(columns), x_adv.cpu().split(columns), strict=True):
        rows += [a, b]
    channels, height, width = x.shape[1:]
    canvas = torch.ones(channels, len(rows) * (height + 1), columns * (width + 1))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + 1), j * (width + 1)
            canvas[:, top : top + height, left : left + width] = image
    picture = to_image(canvas)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
