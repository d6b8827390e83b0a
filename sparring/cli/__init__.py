"""The command line: one function a verb. What is heavy is imported inside the verb that needs it."""

import codecs
import errno
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import signature
from shutil import get_terminal_size
from typing import NoReturn

import sparring
from sparring.cli.parser import call
from sparring.cli.synonyms import meant
from sparring.errors import SparringError, shown, unknown_name_error

VERBS = {
    "train": "training:train",
    "resume": "training:resume",
    "sample": "sample:sample",
    "evaluate": "runs:evaluate",
    "report": "runs:report",
    "runs": "listing:runs",
    "compare": "compare:compare",
    "sweep": "sweep:sweep",
    "reconstruct": "images:reconstruct",
    "classify": "images:classify",
    "translate": "translate:translate",
    "interpolate": "latent:interpolate",
    "arithmetic": "latent:arithmetic",
    "directions": "latent:directions",
    "invert": "latent:invert",
    "neighbors": "latent:neighbors",
    "probe": "probe:probe",
    "recipes": "recipes:recipes",
    "check-data": "data:check_data",
    "bench": "bench:bench",
    "toy": "toy:toy",
}
"""Verb -> its module here and its function there.

Its signature is its command line: paths, then flags. A verb whose only parameter is `argv` reads it by itself.
"""


WRONG_INPUT = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""What the system says of a path that was given, where the disk is not to blame."""


def find_verb(name: str) -> Callable[..., None]:
    """The function of a verb. Raises SparringError with the verbs there are."""
    if name not in VERBS:
        if hint := meant(name):
            raise SparringError(f"unknown verb '{name}': {hint} (all verbs: sparring help)")
        raise unknown_name_error("verb", name, VERBS)
    module, _, function = VERBS[name].partition(":")
    return getattr(import_module(f"sparring.cli.{module}"), function)


def overview() -> str:
    """The verbs, each with what it does and an example."""
    lines = ["usage: sparring VERB ...", "", "Generative models that learn by playing against each other.", ""]
    for name in VERBS:
        what, _, example = (find_verb(name).__doc__ or "").partition(":  ")
        lines += [f"  {name:<11} {what}", f"  {'':<11}     {example}"]
    lines += ["", "Help on one verb: sparring help VERB. RUN is a folder, or the number of one in runs/: 3."]
    lines += ["Exit codes: 0 done, 2 wrong input, 3 training diverged, 4 the disk refused, 5 another process of the"]
    lines += ["training was lost; 130, 143 and 129 stopped by Ctrl-C, SIGTERM and a closed terminal, after saving."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `sparring`. An error that the user can mend is one line on stderr and an exit code, no traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows fewer letters than we print
            stream.reconfigure(errors="sparring")
    try:
        _run(argv)
    except SparringError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:  # a path too long, a folder without rights: wherever it was met first
        if error.errno is None:
            raise
        name = f"{error.filename!s:.200}: " if error.filename is not None else ""
        _fail(f"{name}{error.strerror}", 2 if error.errno in WRONG_INPUT else 4)


def _run(argv: list[str]) -> None:
    if argv and argv[0] == "help":
        argv = [*argv[1:2], "--help"]
    if argv and argv[0] == "list":
        argv = ["runs", *argv[1:]]
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
    elif argv[0] in ("-V", "--version", "version"):
        print(f"sparring {sparring.__version__}")
    elif [*signature(verb := find_verb(argv[0])).parameters] == ["argv"]:
        verb(argv[1:])
    else:
        call(argv[0], verb, argv[1:])


def _fail(message: str, code: int) -> NoReturn:
    """One line on stderr; on a terminal it is broken between words."""
    message = shown(re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...", f"sparring: {message}"), keep="\n\t")
    if sys.stderr.isatty():
        from sparring.progress import wrapped

        message = wrapped(message, get_terminal_size().columns)
    with suppress(OSError):  # a terminal that has been closed
        print(message, file=sys.stderr)
    sys.exit(code)


PLAIN = {
    "±": "+-",
    "²": "^2",
    "\N{MULTIPLICATION SIGN}": "x",
    "·": "*",
    "\N{EN DASH}": "-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "“": '"',
    "”": '"',
    "…": "...",
}
"""How signs are written on a terminal that has not got them; other letters are written as their numbers."""


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Handler "sparring" of encoding errors."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


codecs.register_error("sparring", _plainly)
