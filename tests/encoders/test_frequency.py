"""Frequency encoding: the radii of the paper, the properties of a box low-pass, and a full FFT written out."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from snnguard.encoders import Encoder
from snnguard.encoders.frequency import Frequency, low_pass
from snnguard.networks import build

SIZES = [(8, 8), (7, 9), (8, 12), (6, 5)]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity(x: Tensor) -> Tensor:
    return x


def full_fft(x: Tensor, rows: int, columns: int) -> Tensor:
    """The complex result of masking the shifted spectrum with a box around its centre."""
    height, width = x.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    mask = torch.zeros(height, width, dtype=x.dtype)
    top, left = height // 2, width // 2
    for i in range(height):
        for j in range(width):
            mask[i, j] = float(abs(i - top) <= rows and abs(j - left) <= columns)
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1)))


@pytest.mark.parametrize(
    ("height", "steps", "drop", "expected"),
    [
        (32, 8, 1 / 8, [16, 14, 12, 10, 8, 6, 4, 2]),
        (32, 4, 1 / 8, [16, 14, 12, 10]),
        (64, 4, 1 / 16, [32, 30, 28, 26]),
        (32, 3, 0.0, [16, 16, 16]),
        (8, 4, 1.0, [4, 1, 1, 1]),
        (32, 12, 1 / 8, [16, 14, 12, 10, 8, 6, 4, 2, 1, 1, 1, 1]),
    ],
)
def test_the_radii_of_the_paper_and_their_ends(height: int, steps: int, drop: float, expected: list[int]) -> None:
    assert Frequency(drop=drop).radii(height, steps=steps) == expected


def test_the_default_is_that_of_the_paper_at_32_pixels() -> None:
    assert Encoder.parse("frequency") == Frequency(drop=1 / 8)
    with pytest.raises(ValidationError):
        Frequency(drop=1.1)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_full_fft_with_a_symmetric_mask_agrees_and_is_real(height: int, width: int, rows: int) -> None:
    x = images(2, 3, height, width)
    for columns in (1, rows, rows + 1):
        expected = full_fft(x, rows, columns)
        assert expected.imag.abs().max() < 1e-12
        torch.testing.assert_close(low_pass(x, rows, columns), expected.real, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_radius_of_half_the_image_is_the_identity_and_a_smaller_one_is_not(height: int, width: int) -> None:
    x = images(2, 3, height, width)
    rows, columns = height // 2, width // 2
    for more in (0, 1, 50):
        torch.testing.assert_close(low_pass(x, rows + more, columns + more), x, rtol=0, atol=1e-12)
    assert (low_pass(x, rows - 1, columns) - x).abs().max() > 1e-2
    assert (low_pass(x, rows, columns - 1) - x).abs().max() > 1e-2


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4])
def test_constants_pass_every_radius(radius: int) -> None:
    x = torch.full((2, 3, 8, 8), 0.37, dtype=torch.float64)
    torch.testing.assert_close(low_pass(x, radius, radius), x, rtol=0, atol=1e-12)


def test_radius_zero_leaves_the_mean_alone() -> None:
    x = images(2, 3, 8, 6)
    torch.testing.assert_close(low_pass(x, 0, 0), x.mean((-2, -1), keepdim=True).expand_as(x))


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_a_wave_passes_where_its_frequency_is_in_the_box(m: int) -> None:
    wave = torch.cos(2 * torch.pi * m * torch.arange(8, dtype=torch.float64) / 8)
    down, across = wave[:, None].expand(1, 1, 8, 8), wave[None].expand(1, 1, 8, 8)
    for radius in (1, 2, 3):
        passed = float(m <= radius)
        torch.testing.assert_close(low_pass(down, radius, 4), passed * down, rtol=0, atol=1e-12)
        torch.testing.assert_close(low_pass(across, 4, radius), passed * across, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_is_linear_symmetric_and_a_projection_and_energy_never_rises(height: int, width: int) -> None:
    x, y = images(2, 3, height, width), images(2, 3, height, width, seed=1)
    energies = []
    for radius in (0, 1, 2, 3, 4):
        fx, fy = low_pass(x, radius, radius), low_pass(y, radius, radius)
        torch.testing.assert_close(low_pass(2 * x - 3 * y, radius, radius), 2 * fx - 3 * fy)
        torch.testing.assert_close((fx * y).sum(), (x * fy).sum())
        torch.testing.assert_close(low_pass(fx, radius, radius), fx)
        energies.append(float(fx.square().sum()))
    assert energies == sorted(energies)
    assert energies[-1] <= float(x.square().sum()) * (1 + 1e-12)
    assert energies[0] < energies[2]


def test_each_step_is_filtered_with_its_own_radius_before_the_normalisation() -> None:
    x = images(2, 1, 8, 16)
    encoded = Frequency(drop=0.25).encode(x[None], steps=3, normalize=lambda x: (x - 0.5) / 0.2)
    assert encoded.shape == (3, 2, 1, 8, 16)
    for t, (rows, columns) in enumerate([(4, 8), (3, 6), (2, 4)]):
        torch.testing.assert_close(encoded[t], (full_fft(x, rows, columns).real - 0.5) / 0.2)


def test_images_that_differ_from_step_to_step() -> None:
    x, encoder = images(3, 2, 1, 8, 8), Frequency(drop=0.25)
    encoded = encoder.encode(x, steps=3, normalize=identity)
    for t in range(3):
        torch.testing.assert_close(encoded[t], encoder.encode(x[t : t + 1], steps=3, normalize=identity)[t])


def test_the_gradient_is_the_filtered_gradient() -> None:
    x = images(2, 1, 8, 8).requires_grad_()
    weight = images(4, 2, 1, 8, 8, seed=3)
    encoded = Frequency().encode(x[None], steps=4, normalize=identity)
    (gradient,) = torch.autograd.grad((encoded * weight).sum(), x)
    expected = sum(full_fft(weight[t], r, r).real for t, r in enumerate([4, 4, 3, 2]))  # 4, 3.5, 3, 2.5 to the even
    torch.testing.assert_close(gradient, expected)


def test_a_network_with_it_is_deterministic() -> None:
    model = build("vgg4-tiny", image_shape=(1, 8, 8), encoder=Frequency()).eval()
    assert not model.stochastic
    x = images(2, 1, 8, 8).float()
    assert torch.equal(model(x), model(x))
