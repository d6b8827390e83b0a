"""The command line: one function per verb. Heavy modules are imported inside the verbs that need them."""

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

Its signature is its command line: paths, then flags. A verb whose only parameter is `argv` parses it itself.
"""


INPUT_ERRNOS = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Error numbers of the operating system that mean a wrong path rather than a failing disk."""


def find_verb(name: str) -> Callable[..., None]:
    """The function of a verb. Raises SparringError that lists the possible verbs."""
    if name not in VERBS:
        if hint := meant(name):
            raise SparringError(f"unknown verb '{name}': {hint} (all verbs: sparring help)")
        raise unknown_name_error("verb", name, VERBS)
    module, _, function = VERBS[name].partition(":")
    return getattr(import_module(f"sparring.cli.{module}"), function)


def overview() -> str:
    """The help text: all verbs with a description and an example."""
    lines = ["usage: sparring VERB ...", "", "Train and evaluate GANs and related generative models.", ""]
    for name in VERBS:
        description, _, example = (find_verb(name).__doc__ or "").partition(":  ")
        lines += [f"  {name:<11} {description}", f"  {'':<11}     {example}"]
    lines += ["", "Help on one verb: sparring help VERB. RUN is a run directory, or its number in runs/: 3."]
    lines += [
        "Exit codes: 0 success, 2 invalid input, 3 training diverged, 4 storage error, 5 another training process"
    ]
    lines += ["was lost; 130, 143, 129: stopped by Ctrl-C, SIGTERM or a closed terminal, after saving a checkpoint."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `sparring`. Errors that a user can fix are one line on stderr and an exit code, no traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal's encoding may lack some characters
            stream.reconfigure(errors="sparring")
    try:
        _run(argv)
    except SparringError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:  # a path that is too long, missing permissions ...
        if error.errno is None:
            raise
        name = f"{error.filename!s:.200}: " if error.filename is not None else ""
        _fail(f"{name}{error.strerror}", 2 if error.errno in INPUT_ERRNOS else 4)


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
    """Print one line on stderr, wrapped at spaces on a terminal, and exit."""
    message = shown(re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...", f"sparring: {message}"), keep="\n\t")
    if sys.stderr.isatty():
        from sparring.progress import wrapped

        message = wrapped(message, get_terminal_size().columns)
    with suppress(OSError):  # the terminal may be closed
        print(message, file=sys.stderr)
    sys.exit(code)


ASCII_REPLACEMENTS = {
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
"""ASCII replacements for terminals that lack these characters; all others become backslash escapes."""


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    """Handler "sparring" of encoding errors."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII_REPLACEMENTS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


codecs.register_error("sparring", _to_ascii)
