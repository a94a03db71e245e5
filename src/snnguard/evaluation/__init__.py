"""Evaluation: the judge, its suites and its suspicions. It never imports a defense."""

from snnguard.paired import Paired, paired

from .certify import Certificates, certified, certified_accuracy, certify, smoothing_sigma, standing, vote
from .evaluate import Progress, evaluate
from .exhibits import pictures, png, to_image
from .merge import Shard, merged
from .provenance import gather
from .suite import Entry, Suite
from .suites import Attacker, suite
from .tuning import Tuning, tune

__all__ = [
    "Attacker",
    "Certificates",
    "Entry",
    "Paired",
    "Progress",
    "Shard",
    "Suite",
    "Tuning",
    "certified",
    "certified_accuracy",
    "certify",
    "evaluate",
    "gather",
    "merged",
    "paired",
    "pictures",
    "png",
    "smoothing_sigma",
    "standing",
    "suite",
    "to_image",
    "tune",
    "vote",
]
