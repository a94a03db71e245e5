"""snnguard reproduce."""

import fnmatch
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from snnguard import report, reproduce
from snnguard.comparison import Comparison
from snnguard.errors import RequestError, UnknownName
from snnguard.recipes import pool
from snnguard.reproduce.cluster import cluster
from snnguard.reproduce.outcome import text
from snnguard.reproduce.plan import AXES

from .main import app, console


@app.command(name="reproduce")
def reproduce_(
    given: Annotated[list[str], typer.Argument(
        metavar="PAPER/TABLE... [field=value...]",
        help="mpd-sgr/table-1, tgo/table-main, ...; or patterns: 'mpd-sgr/*'; then settings for every recipe.",
    )],
    scale: Annotated[str, typer.Option(help="paper, small (CIFAR-10 on a CPU, hours) or tiny (digits, minutes).")] = "tiny",
    out: Annotated[Path, typer.Option(help="Networks, records and tables; shared by all tables.")] = Path("runs/reproduce"),
    datasets: Annotated[str, typer.Option(help="Only these, with commas.")] = "",
    networks: Annotated[str, typer.Option(help="Only these, with commas: vgg11,wrn16.")] = "",
    training: Annotated[str, typer.Option(help="Only these kinds of training, with commas.")] = "",
    methods: Annotated[str, typer.Option(help="Only these rows, with commas: reg,mpd-sgr.")] = "",
    attacks: Annotated[str, typer.Option(help="Only these columns, with commas; clean always stays.")] = "",
    seeds: Annotated[str, typer.Option(help="How many, or which: 3, or 0,4, or 2, with its comma.")] = "",
    images: Annotated[int | None, typer.Option(min=1, help="How many are judged; default by scale.")] = None,
    spike: Annotated[bool, typer.Option(help="The same networks under the suite `spike` too.")] = True,
    spike_images: Annotated[int | None, typer.Option(min=1, help="How many are judged by it; default by scale.")] = None,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie, other than digits.")] = None,
    adopt: Annotated[list[Path] | None, typer.Option("--from", help="Trained run folders to take instead of training.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Networks at a time; each gets its share of the cores.")] = 2,
    ray: Annotated[str, typer.Option(help="Run on a Ray cluster: its address, or `local`.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Train nothing: the tables of what is there so far.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run, for how long.")] = False,
) -> None:  # fmt: skip
    """Make tables and figures of the papers anew: train, judge, put ours beside theirs, and say which claims hold.

    Goes on where it stopped. Networks are shared between tables. Exit code 1 if something failed.
    """
    given_axes = dict(zip(AXES, (datasets, networks, training, methods, attacks), strict=True))
    request = reproduce.Request(
        scale=reproduce.scale.get(scale), only={axis: _split(values) for axis, values in given_axes.items() if values},
        seeds=_seeds(seeds), images=images, spike=spike, spike_images=spike_images, data_path=data_path,
        settings=tuple(text for text in given if "=" in text),
    )  # fmt: skip
    chosen = [reproduce.choose(reproduce.get(name), request) for name in _matching([text for text in given if "=" not in text])]
    asked = reproduce.jobs(chosen)
    if dry_run:
        _plan(chosen, asked, out)
        return
    for name in reproduce.adopt(asked, adopt or [], out):
        console.print(f"taken over: {name}", highlight=False)
    failed = {} if show else _run(asked, out, jobs, ray)
    for one in chosen:
        _show(one, out)
    for name, error in failed.items():
        console.print(f"{name}: {error}", style="red", markup=False)
    if failed:
        raise typer.Exit(1)


def _matching(given: list[str]) -> list[str]:
    if not given:
        raise RequestError(f"which table or figure? there are {', '.join(reproduce.names())}")
    found: dict[str, None] = {}
    for pattern in given:
        matches = fnmatch.filter(reproduce.names(), pattern)
        if not matches and any(sign in pattern for sign in "*?["):
            raise UnknownName(f"no table or figure matches {pattern!r}; there are {', '.join(reproduce.names())}")
        found |= dict.fromkeys(matches or [pattern])  # a name that does not exist is refused with the nearest ones
    return list(found)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seeds(text: str) -> tuple[int, ...]:
    """`3` is 0, 1, 2; `0,4` are those two; nothing leaves it to the scale."""
    parts = _split(text)
    if not all(part.isdigit() for part in parts) or text.strip() == "0":
        raise typer.BadParameter(f"--seeds is a count such as 3, or a list such as 0,4 or 2,; found {text!r}")
    numbers = tuple(int(part) for part in parts)
    return numbers if "," in text or not parts else tuple(range(numbers[0]))


def _plan(chosen: list[reproduce.Chosen], asked: list[reproduce.Job], out: Path) -> None:
    """Every cell of every table, every network, and what it will cost."""
    for one in chosen:
        console.print(f"{one.item.name}: {one.item.title}", markup=False, highlight=False, style="bold")
        names = reproduce.labels(one.item.settings)
        for cell in one.item.cells:
            printed = reproduce.published.accuracy(one.item, cell)
            said = "" if printed is None else f"  published {printed:g} %"
            console.print(f"  {names[cell.setting]}: {reproduce.column(cell)}{said}", markup=False, highlight=False)
    console.print(f"{len(asked)} networks:")
    for job in asked:
        console.print(f"  {job.name}{'  (done)' if job.done(out) else ''}", markup=False, highlight=False)
    cost = reproduce.estimate(asked, out)
    console.print(
        f"About {_duration(cost.seconds)} on one device like this one, {cost.memory / 2**30:.1f} GiB for the largest training "
        "step. One small step of each network was timed: a rough figure, too high where attacks stop early.", highlight=False,
    )  # fmt: skip


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _run(asked: list[reproduce.Job], out: Path, processes: int, ray: str) -> dict[str, str]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("networks", total=sum(not job.done(out) for job in asked))

        def done(name: str, what: str, count: int, total: int) -> None:
            progress.update(task, description=f"{name}: {what[:40]}", completed=count, total=total)

        try:
            runner = cluster(ray, out) if ray else pool.run
            return reproduce.train_and_judge(asked, out.resolve(), processes=processes, report=done, runner=runner)
        except KeyboardInterrupt:
            console.print("Stopped; run the same command to go on.")
            raise typer.Exit(130) from None


def _show(chosen: reproduce.Chosen, out: Path) -> None:
    made = reproduce.outcome(chosen, out)
    folder = out / "outcomes" / f"{chosen.item.name.replace('/', '-')}-{chosen.scale.name}"
    reproduce.write(made, folder)
    if made.records:
        report.write(made.records, folder / "report.html", title=made.comparison.title, comparison=made.comparison)
    if courses := report.courses(made.comparison):
        from snnguard.report.print import export_courses  # only here, as it brings matplotlib

        export_courses(courses, folder / "figure.svg")
    console.print(_screen(made.comparison))
    for claim in made.comparison.claims:
        console.print(f"{claim.verdict}: {claim.text}. {claim.reason}.", markup=False, highlight=False)
    console.print(f"Written: {folder}")


def _screen(comparison: Comparison) -> Table:
    columns = list(dict.fromkeys(cell.column for cell in comparison.cells))
    by_place = {(cell.row, cell.column): cell for cell in comparison.cells}
    screen = Table(box=box.SIMPLE_HEAD, title=comparison.title, caption=f"{comparison.scale}. {comparison.note}")
    for heading in ("%: ours ± over seeds (paper; difference)", *columns):
        screen.add_column(heading, justify="left" if heading.startswith("%") else "right")
    for row in dict.fromkeys(cell.row for cell in comparison.cells):
        screen.add_row(row, *(text(by_place.get((row, column))) for column in columns))
    return screen
