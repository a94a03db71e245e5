"""Common corruptions: closed forms where there are some, what all of them promise, and what their severity means."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from snnguard.attacks import Attack, Corruption
from snnguard.attacks.blur import disk, streaked
from snnguard.attacks.corruption import NAMES
from snnguard.attacks.dice import Dice
from snnguard.attacks.sampling import moved, zoomed
from snnguard.attacks.weather import plasma
from snnguard.errors import InvalidInput, InvalidRecipe
from snnguard.evaluation import suite
from snnguard.threat import L2, Linf

THREAT = Linf(eps=8 / 255)
SEVERITIES = range(1, 6)
CHANCE = {"gaussian-noise", "shot-noise", "impulse-noise", "glass-blur", "motion-blur", "snow", "frost", "fog", "elastic"}


def corrupted(name: str, severity: int, x: Tensor, *, seed: int = 0, threat: Linf | L2 = THREAT) -> Tensor:
    attack = Corruption(name=name, severity=severity)
    return attack(lambda x: x.flatten(1), x, torch.zeros(len(x), dtype=torch.int64), threat=threat, seed=seed)


def natural(n: int = 32, shape: tuple[int, int, int] = (3, 32, 32)) -> Tensor:
    """Smooth images whose amplitudes fall like those of photographs, with frequency^-1.5; their channels are alike."""
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    down, across = torch.fft.fftfreq(height, 1 / height)[:, None], torch.fft.fftfreq(width, 1 / width)
    noise = torch.randn(n, channels + 1, height, width, generator=generator, dtype=torch.float64)
    smooth = torch.fft.ifft2(torch.fft.fft2(noise) / (down**2 + across**2).sqrt().clamp_min(1) ** 1.5).real
    x = smooth[:, 1:] / 2 + smooth[:, :1]
    return (0.5 + 0.2 * (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)).clamp(0, 1)


def flat(value: float, shape: tuple[int, ...] = (2, 3, 32, 32)) -> Tensor:
    return torch.full(shape, value, dtype=torch.float64)


def distances(name: str, x: Tensor) -> list[float]:
    """Mean L2 distance from the original at severities 1 to 5."""
    return [float((corrupted(name, severity, x) - x).flatten(1).norm(dim=1).mean()) for severity in SEVERITIES]


def rising(values: list[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


# --- what all of them promise


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 12, 20)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_images_stay_images_at_every_severity(name: str, shape: tuple[int, int, int]) -> None:
    x = natural(3, shape).float()
    before = x.clone()
    for severity in SEVERITIES:
        x_adv = corrupted(name, severity, x)
        assert x_adv.shape == x.shape
        assert x_adv.dtype == x.dtype
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        moved_by = (x_adv - x).abs().amax((1, 2, 3))
        assert (moved_by > 0.002).all() or (name == "impulse-noise" and shape == (1, 8, 8))  # 1% of 64 pixels may be none
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_large_images_black_images_and_white_images_stay_finite(name: str) -> None:
    for value in (0.0, 1.0):
        assert torch.isfinite(corrupted(name, 5, flat(value))).all()
    large = natural(1, (3, 96, 96))
    assert 0.5 < float((corrupted(name, 3, large) - large).norm()) < 100


@pytest.mark.parametrize("name", NAMES)
def test_the_chance_belongs_to_the_image_and_the_seed(name: str) -> None:
    x = natural(5)
    together, order = corrupted(name, 4, x), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(corrupted(name, 4, x[order]), together[order], atol=1e-12, rtol=0)
    alone = torch.cat([corrupted(name, 4, x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, together, atol=1e-12, rtol=0)
    assert torch.equal(corrupted(name, 4, x, seed=1), together) == (name not in CHANCE)


@pytest.mark.parametrize("name", ["gaussian-noise", "elastic", "fog"])
def test_images_that_differ_meet_chances_that_differ(name: str) -> None:
    x = natural(1).repeat(2, 1, 1, 1)
    x[1, 0, 0, 0] += 1e-6
    first, second = corrupted(name, 5, x)
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("name", [n for n in NAMES if n not in CHANCE])
def test_another_range_is_mapped_to_the_unit_range_and_back(name: str) -> None:
    x, wide = natural(2), Linf(eps=0.1, low=-1.0, high=3.0)
    x_adv = corrupted(name, 3, 4 * x - 1, threat=wide)
    torch.testing.assert_close(x_adv, 4 * corrupted(name, 3, x) - 1, atol=1e-6 if name == "pixelate" else 1e-12, rtol=0)


def test_noise_grows_with_the_range() -> None:
    noise = corrupted("gaussian-noise", 5, flat(1.0, (1, 3, 64, 64)), threat=Linf(eps=0.1, low=-1.0, high=3.0)) - 1
    assert noise.std() == pytest.approx(4 * 0.1, rel=0.03)


def test_the_ball_is_not_kept_and_does_not_matter() -> None:
    x = natural(2)
    assert not Corruption().bounded
    assert torch.equal(corrupted("contrast", 5, x, threat=L2(eps=0.0)), corrupted("contrast", 5, x))


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRecipe, match="did you mean 'gaussian-noise'"):
        Attack.parse({"kind": "corruption", "name": "gaussian_noise"})
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        Corruption(name="Fogg")
    with pytest.raises(InvalidRecipe, match="name"):
        Attack.parse({"kind": "corruption", "name": 3})
    for severity in (0, 6):
        with pytest.raises(InvalidRecipe, match="severity"):
            Attack.parse({"kind": "corruption", "severity": severity})


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\[N, C, H, W\], found \(2, 5\)"):
        corrupted("fog", 1, torch.rand(2, 5))


def test_the_suite_has_each_at_three_severities_and_counts_none() -> None:
    entries = suite("common").entries
    assert len(entries) == 45
    assert {e.name: e.attack for e in entries}["fog-3"] == Corruption(name="fog", severity=3)
    assert {(e.attack.name, e.attack.severity) for e in entries} == set(itertools.product(NAMES, (1, 3, 5)))
    assert not any(e.counts for e in entries)


# --- what severity means


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("glass-blur", "motion-blur", "elastic")])
def test_distance_rises_with_severity(name: str) -> None:
    assert rising(distances(name, natural()))


def test_motion_has_one_severity_twice() -> None:
    one, two, three, four, five = distances("motion-blur", natural())
    assert rising([one, two, three, five])
    assert four == pytest.approx(three, rel=1e-9)


def test_glass_moves_further_in_the_second_round_and_is_smoothed_within_each() -> None:
    # (sigma, rounds): (0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)
    one, two, three, four, five = distances("glass-blur", natural())
    assert three < two < one < five < four


def test_elastic_warps_grow_while_the_affine_part_shrinks() -> None:
    """Two ramps for an image show by how much each pixel has moved; a fit splits that into an affine part and the rest."""
    ramp = torch.arange(64, dtype=torch.float64) / 63
    x = torch.stack([ramp[:, None].expand(64, 64), ramp.expand(64, 64)]).repeat(16, 1, 1, 1)
    x = x * (1 - torch.arange(16, dtype=torch.float64)[:, None, None, None] / 100)  # so that each has chances of its own
    inner = slice(16, 48)  # where no pixel comes from beyond the edge
    affine, local = [], []
    for severity in SEVERITIES:
        by = (corrupted("elastic", severity, x) - x)[..., inner, inner].flatten(2)  # [N, 2, places]
        places = torch.cat([x[:1, :, inner, inner].flatten(2)[0], torch.ones(1, 32 * 32, dtype=torch.float64)])
        fitted = by @ torch.linalg.pinv(places) @ places
        affine.append(float(fitted.std()))
        local.append(float((by - fitted).std()))
    assert local[0] < 1e-12
    assert rising(local)
    assert rising(affine[::-1])


# --- closed forms


def test_gaussian_noise_has_its_std_and_no_bias() -> None:
    for severity, std in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        noise = corrupted("gaussian-noise", severity, flat(0.5, (1, 3, 64, 64))) - 0.5
        assert noise.std() == pytest.approx(std, rel=4 / (2 * noise.numel()) ** 0.5)
        assert abs(noise.mean()) < 4 * std / noise.numel() ** 0.5


def test_shot_noise_counts_photons() -> None:
    for severity, photons in zip(SEVERITIES, (500, 250, 100, 75, 50), strict=True):
        x = flat(0.3, (1, 3, 64, 64))
        counts = corrupted("shot-noise", severity, x) * photons
        torch.testing.assert_close(counts, counts.round(), atol=1e-9, rtol=0)
        assert counts.mean() == pytest.approx(0.3 * photons, rel=0.02)
        assert counts.var() == pytest.approx(0.3 * photons, rel=0.06)  # as a Poisson number has it
    assert torch.equal(corrupted("shot-noise", 5, flat(0.0)), flat(0.0))


def test_impulses_hit_their_share_half_black_half_white() -> None:
    for severity, share in zip(SEVERITIES, (0.01, 0.02, 0.03, 0.05, 0.07), strict=True):
        x_adv = corrupted("impulse-noise", severity, flat(0.5, (1, 3, 96, 96)))
        for value in (0.0, 1.0):
            error = (share / 2 / x_adv.numel()) ** 0.5
            assert abs(float((x_adv == value).double().mean()) - share / 2) < 4 * error
        assert set(x_adv.unique().tolist()) == {0.0, 0.5, 1.0}


def test_defocus_of_a_point_is_a_disk_of_sum_one() -> None:
    x = flat(0.0, (1, 1, 33, 33))
    x[..., 16, 16] = 1
    for severity in SEVERITIES:
        assert corrupted("defocus-blur", severity, x).sum() == pytest.approx(1, abs=1e-9)
    # Radius 1.5: the nine pixels within it, alike but for the hardly softened edge.
    spot = corrupted("defocus-blur", 5, x)[0, 0, 15:18, 15:18]
    torch.testing.assert_close(spot, torch.full_like(spot, 1 / 9), atol=1e-12, rtol=0)
    # Radius 0.3, softened by 0.4: exp(-1 / (2 * 0.16)) beside the middle, in both directions.
    side = np.exp(-1 / 0.32)
    row = np.array([side, 1, side]) / (1 + 2 * side)
    spot = corrupted("defocus-blur", 1, x)[0, 0, 15:18, 15:18].numpy()
    np.testing.assert_allclose(spot, np.outer(row, row), atol=1e-9)


def test_the_disk_is_round_and_grows_and_shrinks_with_the_image() -> None:
    large = disk(1.5, 0.1, size=4)
    assert large.shape == (15, 15)
    rows, columns = np.mgrid[-7:8, -7:8]
    inside = rows**2 + columns**2 <= 36
    np.testing.assert_allclose(large, inside / inside.sum(), atol=1e-9)
    assert inside.sum() == pytest.approx(np.pi * 36, rel=0.01)
    # On a quarter of the side the offsets -1, 0, 1 lie at -1/4, 0, 1/4: a share of 2/3 * 1/4 falls beside the middle.
    row = np.array([1 / 12, 10 / 12, 1 / 12])
    small = disk(1.5, 1e-3, size=1 / 4)
    middle = len(small) // 2
    np.testing.assert_allclose(small[middle - 1 : middle + 2, middle - 1 : middle + 2], np.outer(row, row), atol=1e-12)


def test_glass_gives_each_pixel_the_value_of_a_neighbour() -> None:
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_adv = corrupted("glass-blur", 1, x)  # a Gaussian of 0.05 pixels leaves everything
    shifted = [x.roll((down, right), (2, 3)) for down in (0, 1) for right in (0, 1)]
    hits = [(x_adv - other).abs() < 1e-12 for other in shifted]
    inner = torch.stack(hits)[..., 1:, 1:]
    assert inner.any(0).all()
    assert ((inner.double().mean((1, 2, 3, 4)) - 0.25).abs() < 0.06).all()


def test_a_level_streak_is_a_half_gaussian() -> None:
    x = flat(0.0, (1, 1, 32, 65))
    x[..., 16, 40] = 1
    row = streaked(x, 6, 1.5, angle=torch.zeros(1, dtype=torch.float64))[0, 0, 16]
    weights = np.exp(-(np.arange(7) ** 2) / (2 * 1.5**2))  # up to four sigma
    expected = np.zeros(65)
    expected[34:41] = (weights / weights.sum())[::-1]
    np.testing.assert_allclose(row.numpy(), expected, atol=1e-12)


def test_a_streak_grows_with_the_image_and_turns_with_the_angle() -> None:
    for side in (8, 32, 96):
        x = flat(0.0, (2, 1, side, side))
        x[..., side // 2, side // 2] = 1
        angle = torch.tensor([0.0, np.pi / 6], dtype=torch.float64)
        spots = streaked(x, 8, 2.0, angle=angle)
        places = torch.arange(side, dtype=torch.float64) - side // 2
        up, left = -(spots.sum((1, 3)) @ places), -(spots.sum((1, 2)) @ places)
        taps = np.arange(0, 8 + 1e-9, min(1, 32 / side))
        weights = np.exp(-(taps**2) / 8)
        mean = side / 32 * (taps * weights).sum() / weights.sum()
        torch.testing.assert_close(left, mean * angle.cos(), atol=1e-9, rtol=0)
        torch.testing.assert_close(up, mean * angle.sin(), atol=1e-9, rtol=0)


def test_zooming_a_ramp_makes_it_flatter_about_the_middle() -> None:
    ramp = torch.arange(32, dtype=torch.float64).expand(1, 1, 32, 32) - 15.5
    torch.testing.assert_close(zoomed(ramp, 2.0), ramp / 2)
    ramp = ramp / 40 + 0.5
    expected = (2 + sum(1 / (1 + i / 100) for i in range(1, 26))) / 27
    torch.testing.assert_close(corrupted("zoom-blur", 5, ramp) - 0.5, (ramp - 0.5) * expected)


def test_moving_by_whole_pixels_is_a_shift_and_by_half_a_mean_and_the_edge_goes_on() -> None:
    x = natural(1)
    by = torch.tensor([2.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    torch.testing.assert_close(moved(x, by)[..., :-2, 1:], x[..., 2:, :-1])
    torch.testing.assert_close(moved(x, by)[..., 5, 0], x[..., 7, 0])
    half = torch.tensor([0.0, 0.5], dtype=torch.float64).reshape(1, 2, 1, 1)
    torch.testing.assert_close(moved(x, half)[..., :-1], (x[..., :-1] + x[..., 1:]) / 2)


def test_snow_on_a_black_image_is_streaks_that_fall_and_their_mirror_image() -> None:
    x_adv = corrupted("snow", 1, flat(0.0))
    floor = 0.05 * 0.5  # (1 - keep) * max(0, 1.5 * grey + 0.5)
    layer = x_adv[:, 0] - floor
    assert torch.equal(x_adv[:, 0], x_adv[:, 2])
    assert layer.min() > -1e-12
    assert 0.01 < float((layer > 0.05).double().mean()) < 0.5
    torch.testing.assert_close(layer, layer.flip(1, 2), atol=1e-12, rtol=0)
    assert (layer.diff(dim=1).abs().mean((1, 2)) < layer.diff(dim=2).abs().mean((1, 2))).all()  # longer down than across


def test_snow_pales_by_the_luma_of_colours_and_the_mean_of_other_channels() -> None:
    colour = torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    grey = 0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.05
    floors = corrupted("snow", 2, colour).amin((2, 3))[0]
    torch.testing.assert_close(floors, 0.9 * colour[0, :, 0, 0] + 0.1 * (1.5 * grey + 0.5))
    floors = corrupted("snow", 2, colour[:, :2]).amin((2, 3))[0]
    torch.testing.assert_close(floors, 0.9 * colour[0, :2, 0, 0] + 0.1 * (1.5 * 0.15 + 0.5))


def test_frost_is_the_darker_image_under_thin_crystals() -> None:
    crystals = [(corrupted("frost", s, flat(0.4)) - keep * 0.4) / weight for s, keep, weight in ((1, 1, 0.2), (5, 0.75, 0.45))]
    torch.testing.assert_close(crystals[0], crystals[1])  # the same frost, seen through another mix
    assert crystals[0].min() > -1e-12
    assert crystals[0].max() < 1 + 1e-12
    assert 0.05 < crystals[0].mean() < 0.3
    assert crystals[0].amax() > 0.9


def test_fog_is_a_mean_with_a_cloud() -> None:
    x = natural(4)
    for severity, (weight, decay) in ((1, (0.2, 3.0)), (5, (1.5, 1.75))):
        brightest = x.amax((1, 2, 3), keepdim=True)
        cloud = (corrupted("fog", severity, x) * (brightest + weight) / brightest - x) / weight
        torch.testing.assert_close(cloud.amin((1, 2, 3)), torch.zeros(4, dtype=x.dtype), atol=1e-9, rtol=0)
        torch.testing.assert_close(cloud.amax((1, 2, 3)), torch.ones(4, dtype=x.dtype), atol=1e-9, rtol=0)
        torch.testing.assert_close(cloud[:, 0], cloud[:, 2], atol=1e-9, rtol=0)
        assert cloud.diff(dim=2).abs().mean() < (0.03 if decay == 3 else 0.2)


def test_a_plasma_of_two_by_two_by_hand() -> None:
    x = natural(3, (1, 2, 2))
    dice = Dice(x, 0)
    middle, right, below = (2 * dice.uniform(1, 1)[:, 0, 0] - 1 for _ in range(3))
    right, below = right + middle / 2, below + middle / 2  # each between two corners, which are 0, and twice the middle
    cloud = torch.stack([torch.zeros(3, dtype=x.dtype), right, below, middle], 1)
    lowest, highest = cloud.amin(1, keepdim=True), cloud.amax(1, keepdim=True)
    by_hand = ((cloud - lowest) / (highest - lowest)).reshape(3, 1, 2, 2)
    torch.testing.assert_close(plasma(x, Dice(x, 0), decay=2.0), by_hand)


def test_brightness_of_grey_is_a_sum_and_of_colour_keeps_the_proportions() -> None:
    grey = natural(2, (1, 16, 16))
    torch.testing.assert_close(corrupted("brightness", 4, grey), (grey + 0.2).clamp(max=1))
    torch.testing.assert_close(corrupted("brightness", 4, flat(0.0)), flat(0.2))
    colour = torch.tensor([0.2, 0.4, 0.1], dtype=torch.float64).reshape(1, 3, 1, 1)
    torch.testing.assert_close(corrupted("brightness", 4, colour), colour * 1.5)  # a value of 0.4 becomes 0.6
    torch.testing.assert_close(corrupted("brightness", 5, 2 * colour), 2 * colour * 1.25)  # 0.8 is cut at 1


def test_contrast_shrinks_the_distance_to_the_mean_of_each_channel() -> None:
    x = torch.tensor([[0.0, 0.2], [0.4, 1.0]], dtype=torch.float64).reshape(1, 1, 2, 2)  # a mean of 0.4
    x = torch.cat([x, torch.full_like(x, 0.9)], 1)
    by_hand = torch.tensor([[0.2, 0.3], [0.4, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(corrupted("contrast", 2, x)[0, 0], by_hand)
    torch.testing.assert_close(corrupted("contrast", 2, x)[0, 1], x[0, 1])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_a_checkerboard(severity: int) -> None:
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    small = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    # Fewer pixels: each is the mean of those whose middles lie in it; more again: each takes the one in which its middle lies.
    middles = (np.arange(32) + 0.5) * small / 32
    members = np.floor(middles)[None] == np.arange(small)[:, None]  # [small, 32]
    means = members / members.sum(1, keepdims=True)
    expected = members.T @ (means @ board.double().numpy() @ means.T) @ members
    x = board.double().reshape(1, 1, 32, 32)
    np.testing.assert_allclose(corrupted("pixelate", severity, x)[0, 0].numpy(), expected, atol=1e-6)
    assert 0 < float((x - torch.from_numpy(expected)).abs().mean()) < 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels: int) -> None:
    x = (natural(2, (channels, 24, 32)) * 255).round() / 255
    for severity, quality in ((1, 80), (5, 40)):
        file = io.BytesIO()
        pixels = (x[1] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality)
        read = np.atleast_3d(np.asarray(Image.open(file))) / 255
        np.testing.assert_allclose(corrupted("jpeg", severity, x)[1].permute(1, 2, 0).numpy(), read, atol=1e-12)


@pytest.mark.parametrize("name", ["defocus-blur", "glass-blur", "motion-blur", "zoom-blur", "contrast", "elastic", "pixelate"])
def test_a_constant_image_stays_as_it_is(name: str) -> None:
    for severity in SEVERITIES:
        torch.testing.assert_close(corrupted(name, severity, flat(0.37)), flat(0.37), atol=1e-7, rtol=0)


def test_jpeg_leaves_mid_grey_and_comes_close_to_every_other() -> None:
    # The DC coefficient is 8 (level - 128), stored in steps of at most 20: within 1.25 levels, and rounded.
    assert torch.equal(corrupted("jpeg", 5, flat(128 / 255)), flat(128 / 255))
    for level in range(0, 256, 15):
        assert (corrupted("jpeg", 5, flat(level / 255)) - level / 255).abs().max() < 2.5 / 255


def test_elastic_follows_three_points() -> None:
    """At severity 1 the map is affine, so the second differences of a ramp that went through it are zero."""
    ramp = (torch.arange(32, dtype=torch.float64) / 31).expand(1, 1, 32, 32)
    x_adv = corrupted("elastic", 1, ramp)[..., 10:22, 10:22]
    assert x_adv.diff(n=2, dim=3).abs().max() < 1e-12
    assert x_adv.diff(n=2, dim=2).abs().max() < 1e-12
    assert (x_adv - ramp[..., 10:22, 10:22]).abs().max() > 1e-3
