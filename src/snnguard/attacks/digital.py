"""Corruptions of the picture's way through machines: contrast, elastic warps, pixels and JPEG.

SOURCE: Hendrycks & Dietterich 2019, constants of CIFAR-10-C.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from .dice import Dice
from .sampling import moved, scale

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
ELASTIC_STRENGTH_SIGMA_JITTER = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
JPEG_QUALITY = (80, 65, 58, 50, 40)


def contrast(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """mean + c (x - mean), with the mean of each channel of each image."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + CONTRAST[severity - 1] * (x - mean)


def elastic(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """A random affine map (three points around the middle jump) and, from severity 2, a random local warp.

    Strength, sigma and jitter are shares of the image's side. With severity the affine part shrinks and the local one grows, so
    the distance to the original falls. DEVIATION: both parts in one interpolation, so that the image is not blurred twice; the
    warp is as strong, relative to the image, at every size (the published formula weakens it on large ones); the points jump in
    the map from result to source rather than in its inverse.
    """
    height, width = x.shape[-2:]
    strength, sigma, jitter = (c * min(height, width) for c in ELASTIC_STRENGTH_SIGMA_JITTER[severity - 1])
    jumps = jitter * (2 * dice.uniform(3, 2) - 1)  # [N, point, row and column]
    by = torch.einsum("npa,phw->nahw", jumps, _affine(height, width))
    if strength:
        rough = 2 * dice.uniform(2, height, width) - 1
        smooth = ndimage.gaussian_filter(rough.numpy(), sigma, mode="reflect", truncate=3, axes=(2, 3))
        by += scale(x) * strength * torch.from_numpy(smooth)  # the mean of more pixels is smaller in proportion
    return moved(x, by, border="reflection")


def _affine(height: int, width: int) -> Tensor:
    """[3, H, W]: how much each pixel follows each of the three points that fix the affine map; 1 at the point, 0 at the others.

    SOURCE: the points lie a third of the shorter side from the middle, at three corners of a square.
    """
    third = max(1, min(height, width) // 3)
    row, column = height // 2, width // 2
    points = np.array([[row + third, column + third], [row + third, column - third], [row - third, column - third]])
    rows, columns = np.mgrid[:height, :width]
    system = np.vstack([points.T, np.ones(3)])  # the weights reproduce both coordinates and sum to 1
    weights = np.linalg.solve(system, np.stack([rows, columns, np.ones_like(rows)]).reshape(3, -1).astype(np.float64))
    return torch.from_numpy(weights.reshape(3, height, width))


def pixelate(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """Fewer pixels (both sides times c, rounded down) by box averages, and back to the size by repetition."""
    height, width = x.shape[-2:]
    small = (max(1, int(width * PIXELATE[severity - 1])), max(1, int(height * PIXELATE[severity - 1])))

    def coarse(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        few = Image.fromarray(plane).resize(small, Image.Resampling.BOX)
        return np.asarray(few.resize((width, height), Image.Resampling.BOX))

    planes = x.flatten(0, 1).numpy().astype(np.float32)
    return torch.from_numpy(np.stack([coarse(plane) for plane in planes])).to(x).reshape(x.shape)


def jpeg(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """Through an 8-bit JPEG and back: three channels as RGB, any other number each as a grey picture of its own."""
    colour = x.shape[1] == 3
    pictures = x.permute(0, 2, 3, 1) if colour else x.flatten(0, 1)
    read = [_through_jpeg(picture, JPEG_QUALITY[severity - 1]) for picture in (255 * pictures).round().byte().numpy()]
    levels = torch.from_numpy(np.stack(read)).to(x) / 255
    return levels.permute(0, 3, 1, 2) if colour else levels.reshape(x.shape)


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
