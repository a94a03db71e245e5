"""Random crop, horizontal flip and cutout on a whole batch at once, on the device where the batch lies."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from snnguard.choice import Choice
from snnguard.errors import InvalidInput


class Augmentation(Choice):
    """Pad by `crop` zeros and cut at random; mirror half of the images; blank a square of side `cutout`."""

    crop: int = Field(default=0, ge=0)
    flip: bool = False
    cutout: int = Field(default=0, ge=0)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented copy of `x`, float [N, C, H, W] in [0, 1]; `x` itself if nothing is asked for.

        The draws come from `generator`, on its own device, so they are the same wherever `x` lies.
        """
        if x.ndim != 4:
            raise InvalidInput(f"augmentation takes a batch [N, C, H, W]; found {list(x.shape)}")
        if self.crop or self.flip:
            x = self._shift(x, generator)
        if self.cutout:
            x = x.masked_fill(self._hole(x, generator), 0.0)
        return x

    def _shift(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, channels, height, width = x.shape
        device = x.device
        rows = torch.arange(height, device=device).expand(n, -1)  # [N, H]
        columns = torch.arange(width, device=device).expand(n, -1)  # [N, W]
        if self.crop:
            offset = _integers(2 * self.crop + 1, (n, 2), generator).to(device)  # [N, 2]
            rows, columns = rows + offset[:, :1], columns + offset[:, 1:]
            x = functional.pad(x, (self.crop,) * 4)
        if self.flip:
            mirrored = _integers(2, (n, 1), generator).to(device) == 1  # [N, 1]
            columns = torch.where(mirrored, columns.flip(1), columns)
        place = rows[:, :, None] * x.shape[3] + columns[:, None, :]  # [N, H, W], within the padded image
        flat = place.view(n, 1, -1).expand(-1, channels, -1)  # [N, C, H*W]
        return x.flatten(2).gather(2, flat).view(n, channels, height, width)

    def _hole(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Bool [N, 1, H, W], True in one square per image, whose centre is uniform; the border cuts it off.

        SOURCE: DeVries and Taylor 2017, section 3.2.
        DEVIATION: filled with raw 0 and not with the mean, because normalisation is inside the model.
        """
        n, _, height, width = x.shape
        top = _integers(height, (n, 1, 1, 1), generator).to(x.device) - self.cutout // 2
        left = _integers(width, (n, 1, 1, 1), generator).to(x.device) - self.cutout // 2
        rows = torch.arange(height, device=x.device).view(1, 1, height, 1)
        columns = torch.arange(width, device=x.device).view(1, 1, 1, width)
        hit_rows = (rows >= top) & (rows < top + self.cutout)
        return hit_rows & (columns >= left) & (columns < left + self.cutout)


def _integers(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(high, shape, generator=generator, device=generator.device)
