"""Rules of the house, read from the source: layers, public names, signatures, forbidden doors, sizes."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, UnionType
from typing import Any, get_args, get_origin

import pydantic
import pytest

import snnguard
from snnguard.defenses import Defense

ROOT = Path(snnguard.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
LEVELS = {
    0: "errors rng threat record choice cache compiled pages comparison paired findings",
    1: "neurons report",
    2: "layers encoders",
    3: "networks data",
    4: "attacks",
    5: "defenses evaluation analysis",
    6: "training",
    7: "recipes interop bench",
    8: "reproduce",
    9: "cli",
}  # fmt: skip
LEVEL = {room: level for level, rooms in LEVELS.items() for room in rooms.split()}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module of the package that a file imports, as a dotted path below `snnguard`, at any depth of the code."""
    package = ("snnguard", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names] if base == "snnguard" or not node.module else [base]
        else:
            continue
        yield from (module.removeprefix("snnguard.") for module in modules if module.startswith("snnguard."))


def test_every_room_has_a_level() -> None:
    modules = {path.stem for path in ROOT.glob("*.py") if not path.stem.startswith("__")}
    assert set(ROOMS) | modules <= set(LEVEL)


@pytest.mark.parametrize("path", [p for p in FILES if p != ROOT / "__init__.py"], ids=name_of)
def test_rooms_import_only_from_below(path: Path) -> None:
    room = room_of(path)
    for module in imported(path):
        other = module.split(".")[0]
        if other == room:
            continue
        assert other in LEVEL, f"{name_of(path)} imports {module}"
        below = LEVEL[other] < LEVEL[room] or LEVEL[other] == LEVEL[room] == 0
        assert below, f"{name_of(path)} (level {LEVEL[room]}) imports {module} (level {LEVEL[other]})"
        if room == "training" and other == "defenses":
            assert module == "defenses.defense", "training knows the protocol and no concrete defense"
        if room in ("evaluation", "report"):
            assert other not in ("defenses", "training"), "the judge does not know the defendant"


def test_the_reader_of_imports_reads() -> None:
    assert set(imported(ROOT / "training" / "fit.py")) >= {"rng", "defenses.defense", "record"}
    assert set(imported(ROOT / "threat.py")) == {"rng", "choice", "errors"}
    assert "neurons.surrogate" in set(imported(ROOT / "neurons" / "rule.py"))


def test_imports_across_rooms_are_absolute() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{name_of(path)}:{node.lineno}"


def test_no_room_for_leftovers() -> None:
    for path in FILES:
        assert not {*path.relative_to(ROOT).with_suffix("").parts} & {"utils", "util", "common", "misc", "helpers", "core"}


def test_no_star_imports() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{name_of(path)}:{node.lineno}"


def bound_names(path: Path) -> set[str]:
    """The public names that the top level of a file binds."""
    names: set[str] = set()
    for node in tree(path).body:
        match node:
            case ast.Import() | ast.ImportFrom():
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.FunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_all_is_what_a_room_offers(room: str) -> None:
    module = importlib.import_module(f"snnguard.{room}".rstrip("."))
    offered = getattr(module, "__all__", [])
    assert set(offered) == bound_names(ROOT / room / "__init__.py")
    assert len(set(offered)) == len(offered)
    assert all(hasattr(module, name) for name in offered)


def public() -> Iterator[tuple[str, Any]]:
    for room in [*ROOMS, *LEVELS[0].split()]:
        module = importlib.import_module(f"snnguard.{room}")
        for name in getattr(module, "__all__", None) or sorted(bound_names(ROOT / f"{room}.py") if room in LEVELS[0] else ()):
            value = getattr(module, name)
            if getattr(value, "__module__", "").startswith("snnguard"):
                yield f"{room}.{name}", value


def functions() -> Iterator[tuple[str, FunctionType]]:
    """Public functions, and the public methods and constructors that public classes define themselves."""
    for name, value in public():
        if isinstance(value, FunctionType):
            yield name, value
        elif isinstance(value, type):
            for key, raw in vars(value).items():
                method = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
                synthetic = getattr(method, "__qualname__", "") != f"{value.__qualname__}.{key}" or key == "__init__"
                hand_made = isinstance(method, FunctionType) and method.__code__.co_filename.endswith(".py")
                if (
                    hand_made
                    and (not synthetic or key == "__init__")
                    and (not key.startswith("_") or key in ("__init__", "__call__"))
                ):
                    yield f"{name}.{key}", method


def numbers(annotation: Any) -> bool:
    """Whether an annotation stands for a setting rather than for data: float, bool, or either with None."""
    if get_origin(annotation) is UnionType:
        return any(numbers(part) for part in get_args(annotation))
    return annotation in (float, bool, "float", "bool")


DATA = {
    "attacks.check_labels",  # the number of classes is a fact about the labels
    "data.Split.pixels",  # a destination, as in `Tensor.to(device)`
    "defenses.Stack.__init__",  # `Stack((a, b))`: the parts are the data, none of them is the empty stack
    "defenses.omega",  # Omega(mu, sigma, gamma): the arguments of a mathematical function
    "neurons.Membrane.band",  # the key of a look-up
    "recipes.read",  # the overrides are what is read
}
"""Functions whose defaults or numbers are their data."""


def test_settings_are_keyword_only() -> None:
    """After its data a public function takes settings by name only: no positional default, no positional float or bool."""
    found = list(functions())
    assert len(found) > 80
    wrong = []
    for name, function in found:
        if name in DATA or name.endswith(".run"):  # `run` is the protocol of the attacks' shell, its only caller
            continue
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD or parameter.name in ("self", "cls"):
                continue
            if parameter.default is not inspect.Parameter.empty or numbers(parameter.annotation):
                wrong.append(f"{name}({parameter})")
    assert wrong == []


def test_no_open_ended_keywords() -> None:
    """`**kwargs` is a hole through which misspelt settings vanish; only where they are validated at once."""
    allowed = {"networks.build", "recipes.overridden", "defenses.Stack.__init__"}
    wrong = [
        name
        for name, function in functions()
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    ]
    assert set(wrong) <= allowed


def test_choices_are_keyword_only_frozen_and_closed() -> None:
    for name, value in public():
        if isinstance(value, type) and issubclass(value, pydantic.BaseModel):
            assert value.model_config["frozen"], name
            assert value.model_config["extra"] == "forbid", name


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_pickle_is_ever_read() -> None:
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in FILES:
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & pickles, name_of(path)
        for call, node in calls(path):
            assert call not in ("torch.load", "torch.save", "torch.hub.load", "pandas.read_pickle"), (
                f"{name_of(path)}:{node.lineno}"
            )
            allowed = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "allow_pickle"]
            assert allowed in ([], ["False"]), f"{name_of(path)}:{node.lineno}"


def test_attacks_have_one_door_to_autograd() -> None:
    doors = {}
    for path in sorted((ROOT / "attacks").glob("*.py")):
        found = [call for call, _ in calls(path) if call.split(".")[-1] in ("grad", "backward", "vjp", "jacobian")]
        if found:
            doors[path.name] = found
    assert doors == {"gradient.py": ["torch.autograd.grad"] * 2}  # of the image, and of the weights


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_fit_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_a_defense_is_one_short_file() -> None:
    for path in sorted((ROOT / "defenses").glob("*.py")):
        assert len(path.read_text().splitlines()) <= 200, path.name


def test_the_loop_and_the_networks_know_no_defense_by_name() -> None:
    names = {name for name in Defense.members() if len(name) > 3} - {"stack", "mixup", "smoothing", "poisson"}
    classes = {make.__name__ for make in Defense.members().values()} - {"Stack", "Poisson", "Smoothing"}
    for room in ("training", "networks"):
        for path in sorted((ROOT / room).glob("*.py")):
            words = {
                node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            used = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
            assert not words & names, path.name
            assert not used & classes, path.name


def test_printing_is_for_the_command_line() -> None:
    for path in FILES:
        if room_of(path) != "cli":
            assert all(call != "print" for call, _ in calls(path)), name_of(path)


def test_no_bare_except() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{name_of(path)}:{node.lineno}"
