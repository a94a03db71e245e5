"""The handwritten digits that come with scikit-learn: no download, 1,797 images of 8x8."""

import torch

from .dataset import Dataset, Split, moments
from .split import hash_order, holdout


def digits() -> Dataset:
    """1,797 images uint8 [N, 1, 8, 8] of 10 classes: hashed 20 % test, hashed 10 % of the rest validation.

    Source: Alpaydin and Kaynak 1998, UCI, the test part as packaged by scikit-learn; values 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits  # slow to import, and needed by nobody else

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    order = hash_order(images)
    whole = Split(images[order], labels[order])
    tested = holdout(whole.images, share=0.2, purpose="test")
    rest = whole.take(~tested)
    validated = holdout(rest.images)
    train = rest.take(~validated)
    mean, std = moments(train.images)
    return Dataset(
        name="digits",
        train=train,
        validation=rest.take(validated),
        test=whole.take(tested),
        labels=tuple("0123456789"),
        mean=mean,
        std=std,
    )
