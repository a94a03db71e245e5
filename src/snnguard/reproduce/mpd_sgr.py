"""The tables and figures of MPD-SGR (AAAI 2026), by the numbers of the paper; the supplement's begin with s."""

from collections.abc import Sequence

from .item import BPTR, BPTT, Cell, Claim, Item, Pair, Setting, ahead, falling, grid, item

WHITE_BOX = ("fgsm", "pgd7", "bim7")
METHODS = {
    "vanilla": ("reg", "stog", "dlif", "feel", "sr", "mpd-sgr"),
    "adversarial": ("rat", "stog", "dlif", "feel", "sr", "mpd-sgr"),
}
BASELINE = {"vanilla": "reg", "adversarial": "rat"}
"""SOURCE: Table 2, "the vanilla method (REG/RAT)"."""

NETWORKS = ("vgg11", "wrn16")
CIFAR = ("cifar10", "cifar100")
RADII = ("0.25", "0.5", "1", "1.5", "2", "3")
"""Radii in multiples of eps = 8/255. DEVIATION: the figures' own axes are not printed as numbers."""


def ours(setting: Setting) -> bool:
    return setting.method == "mpd-sgr"


def against_baseline(
    networks: Sequence[str], datasets: Sequence[str], steps: Sequence[int | None], training: Sequence[str] = ("vanilla",)
) -> list[Setting]:
    """The baseline and MPD-SGR for every combination."""
    return [
        Setting(dataset=dataset, network=network, steps=t, training=kind, method=method)
        for dataset in datasets for network in networks for t in steps for kind in training
        for method in (BASELINE[kind], "mpd-sgr")
    ]  # fmt: skip


@item
def table_1() -> Item:
    settings = [
        Setting(dataset=dataset, network="vgg11", steps=8, training=training, method=method)
        for dataset in CIFAR for training, methods in METHODS.items() for method in methods
    ]  # fmt: skip
    cells = grid(settings, WHITE_BOX)
    beside_sr = [c for c in cells if c.setting.training == "adversarial" and c.setting.method in ("mpd-sgr", "sr")]
    return Item(
        name="mpd-sgr/table-1", title="MPD-SGR Table 1: defenses under white-box attacks (VGG11, T = 8)", cells=cells,
        claims=(
            *(
                Claim(
                    text=f"MPD-SGR is ahead of every other defense under {', '.join(WHITE_BOX)} ({training} training)",
                    source="Performance for various attack types; Table 1",
                    pairs=ahead([c for c in cells if c.setting.training == training], ours, WHITE_BOX, by=("method",)),
                )
                for training in METHODS
            ),
            Claim(text="Under AT, SR loses more clean accuracy than MPD-SGR", source="the same section",
                  pairs=ahead(beside_sr, ours, ("clean",), by=("method",))),
        ),
        note="AT of the paper is RAT for the baseline (its row is RAT's) and AT plus the method for the others.",
    )  # fmt: skip


def _white_box(name: str, title: str, settings: Sequence[Setting], note: str = "") -> Item:
    """Baseline against MPD-SGR under both gradients, CW included: Table 2 and the supplement's 1 and 2."""
    attacks = (*WHITE_BOX, "cw")
    cells = grid(settings, attacks, (BPTT, BPTR))
    gains = ahead(cells, ours, attacks, by=("method",))
    collapsed = [
        Pair(more=5.0, less=c) for c in cells
        if c.attack in ("pgd7", "bim7") and c.gradient == BPTT and (c.setting.training, c.setting.method) == ("vanilla", "reg")
    ]  # fmt: skip
    claims = [
        Claim(text=f"MPD-SGR is ahead of the baseline under every attack by {g.upper()}", source=f"{title.partition(':')[0]}; "
              "White-box attack", pairs=tuple(p for p in gains if isinstance(p.more, Cell) and p.more.gradient == g))
        for g in (BPTT, BPTR)
    ]  # fmt: skip
    if collapsed:
        claims.append(Claim(text="Without AT the baseline fails completely under PGD and BIM (near 0; here: below 5 %)",
                            source="White-box attack", pairs=tuple(collapsed)))  # fmt: skip
    return Item(name=name, title=title, cells=cells, claims=tuple(claims), note=note)


@item
def table_2() -> Item:
    settings = against_baseline(NETWORKS, CIFAR, (4,), tuple(METHODS))
    return _white_box("mpd-sgr/table-2", "MPD-SGR Table 2: baseline and MPD-SGR under white-box attacks (T = 4)", settings)


MISALIGNED = (
    "Row and data set labels of the supplement's tables are re-aligned with Tables 1 and 2; the T = 4 rows are Table 2's."
)


@item
def table_s1() -> Item:
    eight = against_baseline(("vgg11",), CIFAR, (8,))
    two = against_baseline(NETWORKS, CIFAR, (2,))
    title = "MPD-SGR supplement Table 1: T = 8 and T = 2, without AT"
    return _white_box("mpd-sgr/table-s1", title, [*eight, *two], MISALIGNED)


@item
def table_s2() -> Item:
    eight = against_baseline(("vgg11",), CIFAR, (8,), ("adversarial",))
    two = [
        *against_baseline(("vgg11",), CIFAR, (2,), ("adversarial",)),
        *against_baseline(("wrn16",), ("cifar100",), (2,), ("adversarial",)),
    ]
    note = f"{MISALIGNED} The CIFAR-10 rows of WRN16 at T = 2 repeat those without AT and are left out."
    return _white_box("mpd-sgr/table-s2", "MPD-SGR supplement Table 2: T = 8 and T = 2, with AT", [*eight, *two], note)


@item
def table_3() -> Item:
    settings = [
        Setting(dataset="cifar100", network="vgg11", steps=8, training="vanilla", method=method)
        for method in ("reg", "feel", "sr", "mpd-sgr")
    ]  # fmt: skip
    noises = ("gaussian0.1", "uniform0.1")
    cells = tuple(Cell(setting=s, attack=a, gradient="") for s in settings for a in ("clean", *noises))
    return Item(
        name="mpd-sgr/table-3", title="MPD-SGR Table 3: random noise of 0.1 (VGG11, T = 8, CIFAR-100)", cells=cells,
        claims=(Claim(text="MPD-SGR is ahead of REG, FEEL and SR under noise", source="Non-gradient attack",
                      pairs=ahead(cells, ours, noises, by=("method",))),),
        note="The paper writes N(0, eps); 0.1 is taken as the standard deviation.",
    )  # fmt: skip


@item
def table_4() -> Item:
    settings = [
        Setting(dataset="cifar10", network=network, steps=None, training="vanilla", method=method, surrogate=surrogate)
        for network in NETWORKS for surrogate in ("rectangular", "sigmoid", "superspike") for method in ("reg", "mpd-sgr")
    ]  # fmt: skip
    cells = grid(settings, WHITE_BOX)
    return Item(
        name="mpd-sgr/table-4", title="MPD-SGR Table 4: other surrogate gradients", cells=cells,
        claims=(Claim(text="MPD-SGR is ahead of REG under every surrogate gradient", source="Performance under different SG "
                      "functions", pairs=ahead(cells, ours, WHITE_BOX, by=("method",))),),
        note="The number of steps and the surrogates' widths are not stated: T = 4 and each surrogate's default width.",
    )  # fmt: skip


@item
def table_5() -> Item:
    settings = [
        Setting(dataset="tiny-imagenet", network="vgg16", steps=None, training="vanilla", method=method, encoding=encoding)
        for encoding in ("direct", "poisson", "rsc") for method in ("reg", "mpd-sgr")
    ]  # fmt: skip
    cells = grid(settings, ("fgsm", "pgd7"))
    return Item(
        name="mpd-sgr/table-5", title="MPD-SGR Table 5: other input codings (VGG16, Tiny-ImageNet)", cells=cells,
        claims=(Claim(text="MPD-SGR is ahead of the baseline under every coding", source="Performance under different spike "
                      "coding", pairs=ahead(cells, ours, ("fgsm", "pgd7"), by=("method",))),),
        note="The number of steps is not stated: T = 4. The rows without MPD-SGR are taken as REG, as everywhere in the paper.",
    )  # fmt: skip


CHECKS = ("fgsm-beats-pgd", "black-box-stronger", "larger-radius-weaker", "unbounded-survives", "random-search-stronger")


@item
def table_s3() -> Item:
    [setting] = [s for s in against_baseline(("vgg11",), ("cifar10",), (8,)) if ours(s)]
    cells = tuple(Cell(setting=setting, attack=f"check:{code}", gradient="") for code in CHECKS)
    return Item(
        name="mpd-sgr/table-s3", title="MPD-SGR supplement Table 3: the checklist for gradient obfuscation", cells=cells,
        claims=tuple(
            Claim(text=f"({i}) {code}: nothing found", source="supplement F", pairs=(Pair(more=c, less=50.0),))
            for i, (code, c) in enumerate(zip(CHECKS, cells, strict=True), 1)
        ),
        note="100: the check found nothing; 0: it raised its suspicion. Attacks by BPTT, PGD-20 by the rate gradient too.",
    )  # fmt: skip


def _strength(name: str, title: str, dataset: str) -> Item:
    """PGD against the radius at k = 4, and against the number of steps at the full radius."""
    settings = against_baseline(NETWORKS, (dataset,), (4,), tuple(METHODS))
    radii = [f"pgd4@{radius}" for radius in RADII]
    steps = [f"pgd{k}" for k in (1, 2, 4, 7, 10, 20, 40)]
    cells = grid(settings, [*radii, *steps])
    return Item(
        name=name, title=title, cells=cells,
        claims=(
            Claim(text="Accuracy falls as eps grows", source=title.partition(":")[0], pairs=falling(cells, radii)),
            Claim(text="Accuracy falls as the steps grow", source=title.partition(":")[0], pairs=falling(cells, steps)),
            Claim(text="MPD-SGR is ahead of the baseline at every eps and number of steps", source=title.partition(":")[0],
                  pairs=ahead(cells, ours, [*radii, *steps], by=("method",))),
        ),
        note="Radii are multiples of eps = 8/255, and the step grows with them, which is the stronger attack.",
    )  # fmt: skip


@item
def figure_2() -> Item:
    return _strength("mpd-sgr/figure-2", "MPD-SGR Figure 2: PGD of growing eps and growing steps (CIFAR-10)", "cifar10")


@item
def figure_s5() -> Item:
    return _strength(
        "mpd-sgr/figure-s5", "MPD-SGR supplement Figure 5: PGD of growing eps and growing steps (CIFAR-100)", "cifar100"
    )


@item
def figure_3() -> Item:
    settings = against_baseline(("vgg11",), CIFAR, (4,))
    black = [f"twin:{attack}" for attack in (*WHITE_BOX, "cw")]
    cells = grid(settings, [*black, *WHITE_BOX, "cw"])
    found = {(c.setting, c.attack): c for c in cells}
    weaker = [
        Pair(found[s, f"twin:{a}"], found[s, a], never_less=True) for s in settings for a in WHITE_BOX
    ]  # fmt: skip
    return Item(
        name="mpd-sgr/figure-3", title="MPD-SGR Figure 3: images crafted on a substitute", cells=cells,
        claims=(
            Claim(text="Black-box attacks are weaker than white-box attacks", source="Black-box attack", pairs=tuple(weaker)),
            Claim(text="MPD-SGR is ahead of the baseline under black-box attacks", source="Black-box attack",
                  pairs=ahead(cells, ours, black, by=("method",))),
        ),
        note="The substitute (twin) has the same architecture, no defense and another seed. CW is not bounded by eps.",
    )  # fmt: skip


ETAS = (0.0, 0.01, 0.05, 0.1, 0.5)


@item
def figure_s2() -> Item:
    settings = [
        Setting(dataset="cifar10", network="vgg11", steps=4, training="vanilla", method="mpd-sgr", eta=eta) for eta in ETAS
    ]  # fmt: skip
    cells = grid(settings, WHITE_BOX)
    found = {(c.setting.eta, c.attack): c for c in cells}
    return Item(
        name="mpd-sgr/figure-s2", title="MPD-SGR supplement Figure 2: the coefficient eta", cells=cells,
        claims=(
            Claim(text="eta = 0.05 is more robust than no regularisation", source="supplement C",
                  pairs=tuple(Pair(found[0.05, a], found[0.0, a]) for a in WHITE_BOX)),
            Claim(text="Beyond eta = 0.05 clean accuracy falls", source="supplement C",
                  pairs=tuple(Pair(found[one, "clean"], found[other, "clean"]) for one, other in ((0.05, 0.1), (0.1, 0.5)))),
        ),
        note="The axis is not printed as numbers. At a smaller scale all are multiplied as the scale's own eta is.",
    )  # fmt: skip


def _over_training() -> tuple[Setting, ...]:
    return tuple(s for s in against_baseline(("vgg11",), ("cifar10",), (4,)) if ours(s))


@item
def figure_s3() -> Item:
    [setting] = _over_training()
    cells = tuple(Cell(setting=setting, attack=f"gaussian-fit@{part}/3", gradient="") for part in (1, 2, 3))
    return Item(
        name="mpd-sgr/figure-s3", title="MPD-SGR supplement Figure 3: membrane histograms", cells=cells,
        claims=(Claim(text="The potentials closely match a Gaussian (here: the histogram differs from its fit in less "
                      "than 10 % of the mass)", source="supplement C", pairs=tuple(Pair(more=10.0, less=c) for c in cells)),),
        note="Total variation between histogram and fitted Gaussian, mean over the layers, at thirds of the training. The "
        "paper shows layers 3 and 5 at epochs 100, 200 and 300 and gives no measure. The histograms are in the report.",
    )  # fmt: skip


@item
def figure_s4() -> Item:
    [setting] = _over_training()
    readings = {f"{name}@{part}": Cell(setting=setting, attack=f"{name}@{part}", gradient="")
                for name in ("mean", "std", "overlap") for part in ("first", "1/3", "2/3", "3/3")}  # fmt: skip
    return Item(
        name="mpd-sgr/figure-s4", title="MPD-SGR supplement Figure 4: mean, spread and overlap over training",
        cells=tuple(readings.values()),
        claims=(
            Claim(text="The mean falls", source="supplement C", pairs=(Pair(readings["mean@first"], readings["mean@3/3"]),)),
            Claim(text="The spread grows", source="supplement C", pairs=(Pair(readings["std@3/3"], readings["std@first"]),)),
            Claim(text="The overlap with the surrogate's window falls", source="supplement C",
                  pairs=(Pair(readings["overlap@first"], readings["overlap@3/3"]),)),
        ),
        note="Means over the layers, times 100; mean and spread in units of the potential, u - threshold.",
    )  # fmt: skip


@item
def figure_s6() -> Item:
    settings = [s for s in against_baseline(("vgg11",), ("cifar10",), (8,)) if ours(s)]
    radii = [f"pgd20@{radius}" for radius in ("0.5", "1", "2", "4", "8", "range")]
    cells = grid(settings, radii, (BPTT, BPTR))
    last = [c for c in cells if c.attack == radii[-1]]
    return Item(
        name="mpd-sgr/figure-s6", title="MPD-SGR supplement Figure 6: PGD up to random guessing", cells=cells,
        claims=(
            Claim(text="Accuracy falls as eps grows", source="supplement F", pairs=falling(cells, radii)),
            Claim(text="It reaches random guessing (10 %)", source="supplement F",
                  pairs=tuple(Pair(10.0, c, never_less=True) for c in last)),
        ),
        note="Twenty steps; radii are multiples of eps, the last one is the whole range of the images.",
    )  # fmt: skip
