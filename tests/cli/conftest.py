"""The command in this process: `snnguard("train", ...)` gives exit code, output and messages; and one small trained run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from snnguard.cli.main import main

TINY = (
    "data.name=fake", "data.train_size=64", "data.validation_size=16", "data.test_size=24", "network.steps=2",
    "training.epochs=4", "training.batch_size=16", "training.device=cpu",
)  # fmt: skip


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def snnguard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command as the shell would; a traceback would show as an exception."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["snnguard", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from snnguard import recipes

    folder = tmp_path_factory.mktemp("cli") / "run"
    recipes.train(recipes.read("digits-mpd-sgr", TINY), out=folder)
    return folder


@pytest.fixture
def run(_trained: Path, tmp_path: Path) -> Path:
    """A copy of a trained run on made-up images of 32x32."""
    import shutil

    return Path(shutil.copytree(_trained, tmp_path / "run"))
