"""One smooth network and the same images for every library. Install requirements-parity*.lock first (see there)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.data import Dataset, fake

Report = Callable[[str], None]


@pytest.fixture(scope="session")
def data() -> Dataset:
    return fake(classes=4, image_shape=(1, 8, 8), train=256, validation=8, test=32, seed=1)


@pytest.fixture(scope="session")
def model(data: Dataset) -> nn.Module:
    """A trained convolutional network with tanh: smooth, so that all gradients exist and agree."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 16), nn.Tanh(),
            nn.Linear(16, 4),
        )  # fmt: skip
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
        x, y = data.train.pixels(slice(None)), data.train.labels
        for _ in range(30):
            optimiser.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimiser.step()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def x(data: Dataset) -> Tensor:
    """32 images in [0, 1], many of whose pixels lie on the edge of the range."""
    images = data.test.pixels(slice(None))
    images = ((images - 0.5) * 1.6 + 0.5).clamp(0, 1)
    assert int((images == 0).sum()) > 50
    assert int((images == 1).sum()) > 50
    return images


@pytest.fixture(scope="session")
def y(data: Dataset) -> Tensor:
    return data.test.labels


@pytest.fixture
def gap(record_property: Callable[[str, object], None]) -> Callable[[str, Tensor, Tensor], float]:
    """gap(name, ours, theirs): the largest difference, printed (pytest -s shows it)."""

    def measure(name: str, ours: Tensor, theirs: Tensor) -> float:
        largest = float((ours.detach() - theirs.detach()).abs().max())
        record_property(name, largest)
        print(f"\n{name}: largest difference {largest:.2e}", end="")
        return largest

    return measure


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, default=None, help="Keep the figures that the tests note in this JSON file.")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, float]]]:
    """What the tests note, by name; earlier figures of tests that were not run stay in the file."""
    path: Path | None = request.config.getoption("--figures")
    kept = json.loads(path.read_text()) if path is not None and path.exists() else {}
    yield kept
    if path is not None:
        path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


@pytest.fixture
def note(figures: dict[str, dict[str, float]]) -> Callable[..., None]:
    """note(name, figure=value, ...): printed (pytest -s shows it), and kept with `--figures FILE`."""

    def noted(name: str, **values: float) -> None:
        figures[name] = {key: round(value, 6) for key, value in values.items()}
        print(f"\n{name}: {figures[name]}", end="")

    return noted
