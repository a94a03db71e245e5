"""The command: parses, calls, prints. Exit codes: 0 done, 1 judged and failed, 2 the request was wrong, 130 stopped."""

import sys

import typer
from rich.console import Console

from snnguard.choice import discover
from snnguard.errors import RequestError, SNNGuardError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Train spiking neural networks with a defense, attack them properly, and show the result.",
)  # fmt: skip
# Tables need room: a pipe or a log file has no width of its own.
console = Console(width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Runs the command; errors that a person can act on come as one message, without a traceback."""
    discover("snnguard.cli")
    try:
        app()
    except SNNGuardError as error:
        print(f"snnguard: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback()
def _snnguard() -> None:
    """Train spiking neural networks with a defense, attack them properly, and show the result."""
