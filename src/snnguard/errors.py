"""Every error that SNNGuard raises on purpose.

    SNNGuardError
    ├── RequestError          what was asked cannot be done (the command exits with 2)
    │   ├── UnknownName       no such attack, defense, network, ...
    │   ├── InvalidRecipe     a recipe, file or override with a wrong field, type or range
    │   ├── InvalidInput      images or labels that no model or attack can take
    │   ├── DataError         a data set that is missing, empty, truncated or out of reach
    │   ├── CheckpointError   weights or a training state that do not fit or do not read
    │   ├── RunFolderError    a run folder that holds something else, or cannot be written
    │   └── DefenseConflict   two defenses that contradict each other
    ├── OutOfMemory           no memory is left, however small the pieces
    └── AttackFault           an attack broke its promise (a bug in the attack, not in the request)

A message says what was asked, what was found, and what to do. `RequestError` is a `ValueError`, so code that knows
nothing of SNNGuard can still catch it, and pydantic reports it with the path of the field it came from.
"""


class SNNGuardError(Exception):
    """Base of all errors raised on purpose."""


class RequestError(SNNGuardError, ValueError):
    """The request cannot be fulfilled as it stands; the message says how to change it."""


class UnknownName(RequestError):
    """A name that is not registered; the message suggests the nearest ones."""


class InvalidRecipe(RequestError):
    """A field of a recipe is unknown, of the wrong type or out of range."""


class InvalidInput(RequestError):
    """Images or labels outside what the model, the threat or the attack accepts."""


class DataError(RequestError):
    """A data set is missing, empty, truncated, wrongly laid out or out of reach."""


class CheckpointError(RequestError):
    """Weights or a training state are damaged or belong to another network."""


class RunFolderError(RequestError):
    """A run folder belongs to another recipe, is not a run folder, or cannot be written."""


class DefenseConflict(RequestError):
    """Two parts of a stack cannot both have their way."""


class AttackFault(SNNGuardError):
    """An attack returned images outside its ball or range, or of another shape."""


class OutOfMemory(SNNGuardError):
    """The work does not fit into the memory of the device; the message says what would make it smaller."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    told = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, MemoryError | OutOfMemory) or any(sign in told for sign in signs)
