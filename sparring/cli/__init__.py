"""The command line: one function a verb. What is heavy is imported inside the verb that needs it."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import signature

import sparring
from sparring.cli.reading import call
from sparring.errors import SparringError, unknown

VERBS = {
    "train": "training:train",
    "resume": "training:resume",
    "sample": "sample:sample",
    "evaluate": "runs:evaluate",
    "report": "runs:report",
    "compare": "compare:compare",
    "sweep": "sweep:sweep",
    "reconstruct": "images:reconstruct",
    "classify": "images:classify",
    "translate": "translate:translate",
    "interpolate": "latent:interpolate",
    "arithmetic": "latent:arithmetic",
    "directions": "latent:directions",
    "invert": "latent:invert",
    "neighbours": "latent:neighbours",
    "probe": "probe:probe",
    "recipes": "recipes:recipes",
    "check-data": "data:check_data",
    "bench": "bench:bench",
    "toy": "toy:toy",
}
"""Verb -> its module here and its function there.

Its signature is its command line: paths, then flags. A verb whose only parameter is `argv` reads it by itself.
"""


def find_verb(name: str) -> Callable[..., None]:
    """The function of a verb. Raises SparringError with the verbs there are."""
    if name not in VERBS:
        raise unknown("verb", name, VERBS)
    module, _, function = VERBS[name].partition(":")
    return getattr(import_module(f"sparring.cli.{module}"), function)


def overview() -> str:
    """The verbs, each with what it does and an example."""
    lines = ["usage: sparring VERB ...", "", "Generative models that learn by playing against each other.", ""]
    for name in VERBS:
        what, _, example = (find_verb(name).__doc__ or "").partition(":  ")
        lines += [f"  {name:<11} {what}", f"  {'':<11}     {example}"]
    lines += ["", "Help on one verb: sparring VERB --help. Exit codes: 0 done, 2 wrong input, 3 training diverged,"]
    lines += ["4 the disk refused, 5 another process of the training was lost, 130 and 143 stopped by Ctrl-C and"]
    lines += ["SIGTERM after saving."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `sparring`. An error that the user can mend is one line on stderr and an exit code, no traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(overview())
        elif argv[0] == "--version":
            print(f"sparring {sparring.__version__}")
        elif [*signature(verb := find_verb(argv[0])).parameters] == ["argv"]:
            verb(argv[1:])
        else:
            call(argv[0], verb, argv[1:])
    except SparringError as error:
        print(f"sparring: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
