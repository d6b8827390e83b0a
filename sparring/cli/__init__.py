"""The command line: one function per verb, which parses, calls the library and prints.

Heavy modules are imported inside the functions that need them, so that the help takes a fraction of a second.
"""

import codecs
import errno
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from shutil import get_terminal_size
from typing import NoReturn

from sparring.cli.parser import Command
from sparring.cli.synonyms import meant
from sparring.errors import SparringError, printable, unknown_name_error
from sparring.machine import version


@dataclass(frozen=True)
class Verb:
    """One command.

    target   module of this package and function in it, imported when the command runs. Its signature is the command
             line: positional parameters, then keyword-only ones as flags
    summary  one line for the overview
    example  a command line
    subject  "recipe" or "toy": the first argument is such a name, and the flags depend on it. The function is then
             called with the name and the remaining words; with None, it prints the help of the command
    """

    target: str
    summary: str
    example: str
    subject: str = ""


VERBS = {
    "train": Verb(
        "training:train",
        "train a recipe on data",
        "sparring train cs231n-dcgan --data digits --rounds 2000",
        subject="recipe",
    ),
    "resume": Verb(
        "training:resume",
        "resume an interrupted run",
        "sparring resume runs/0001-cs231n-dcgan-digits",
    ),
    "sample": Verb(
        "sample:sample",
        "generate images, as a grid or one file per image",
        "sparring sample RUN -n 10000 --out samples/",
    ),
    "evaluate": Verb(
        "evaluate:evaluate",
        "metrics of a run or of images, each beside its real-vs-real floor",
        "sparring evaluate RUN --level full",
    ),
    "report": Verb(
        "evaluate:report",
        "write report.html, one self-contained page",
        "sparring report RUN",
    ),
    "runs": Verb(
        "listing:runs",
        "list the runs of a folder with progress and FD",
        "sparring runs [FOLDER]",
    ),
    "compare": Verb(
        "compare:compare",
        "compare evaluated runs, seed by seed",
        "sparring compare RUN RUN ... --out compare.html",
    ),
    "sweep": Verb(
        "sweep:sweep",
        "hyperparameter search",
        "sparring sweep r1gan --data mnist --space lr=1e-5..1e-3:log --rounds 2000",
        subject="recipe",
    ),
    "reconstruct": Verb(
        "images:reconstruct",
        "your images above their reconstructions",
        "sparring reconstruct RUN my-pictures/ --out pairs.png",
    ),
    "classify": Verb(
        "images:classify",
        "the class of each image, with its probability",
        "sparring classify RUN my-pictures/ [--json]",
    ),
    "translate": Verb(
        "translate:translate",
        "translate images from one domain to the other",
        "sparring translate RUN horses/ --to b --out zebras/",
    ),
    "interpolate": Verb(
        "latent:interpolate",
        "interpolate between latent codes",
        "sparring interpolate RUN --method slerp --out walk.webp",
    ),
    "arithmetic": Verb(
        "latent:arithmetic",
        "concept - concept + concept",
        "sparring arithmetic RUN --start 3,17,25 --minus 4,8,9 --plus 11,12,13 --seed 7",
    ),
    "directions": Verb(
        "latent:directions",
        "latent directions along which images change",
        "sparring directions RUN --method sefa --out sefa.png",
    ),
    "invert": Verb(
        "latent:invert",
        "find the latent codes of images",
        "sparring invert RUN my-pictures/ --restarts 8 --out inverted.png",
    ),
    "neighbors": Verb(
        "latent:neighbors",
        "samples beside their nearest training images",
        "sparring neighbors RUN --by features --out near.png",
    ),
    "screen": Verb(
        "screen:screen",
        "molecules most similar to those generated for a growth of cells",
        "sparring screen RUN --data candidates.smi --growth -1 --out leads.png",
    ),
    "probe": Verb(
        "probe:probe",
        "linear-probe accuracy of the learned features",
        "sparring probe RUN --data mnist --labels 1000",
    ),
    "units": Verb(
        "units:units",
        "what the units of a layer have learned",
        "sparring units RUN --layer D.3 --out units.png",
    ),
    "recipes": Verb(
        "recipes:recipes",
        "list recipes, or show one in detail",
        "sparring recipes cs231n-mlp [--json]",
    ),
    "check-data": Verb(
        "data:check_data",
        "check and preview a data set before training",
        "sparring check-data my-pictures/ --preview preview.png",
    ),
    "bench": Verb(
        "bench:bench",
        "throughput versus textbook training loops, on this machine",
        "sparring bench --only dcgan-64 --json speed.json",
    ),
    "toy": Verb(
        "toy:toy",
        "small games with known solutions, as tables and animations",
        "sparring toy xy --out xy.webp",
        subject="toy",
    ),
}


INPUT_ERRNOS = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Error numbers of the operating system that mean a wrong path rather than a failing disk."""


def find_verb(name: str) -> Callable[..., None]:
    """The function of a verb. Raises SparringError that lists the possible verbs."""
    if name not in VERBS:
        if hint := meant(name):
            raise SparringError(f"unknown verb '{name}': {hint} (all verbs: sparring help)")
        raise unknown_name_error("verb", name, VERBS)
    module, _, function = VERBS[name].target.partition(":")
    verb: Callable[..., None] = getattr(import_module(f"sparring.cli.{module}"), function)
    return verb


def overview() -> str:
    """The help text: all verbs with a description and an example."""
    lines = ["usage: sparring VERB ...", "", "Train and evaluate GANs and related generative models.", ""]
    for name, verb in VERBS.items():
        lines += [f"  {name:<11} {verb.summary}", f"  {'':<11}     {verb.example}"]
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
        print(f"sparring {version()}")
    else:
        _run_verb(argv[0], find_verb(argv[0]), argv[1:])


def _run_verb(name: str, function: Callable[..., None], argv: list[str]) -> None:
    verb = VERBS[name]
    if not verb.subject:
        Command.of(f"sparring {name}", function, verb.example).run(function, argv)
    elif not argv or argv[0] in ("-h", "--help"):
        function(None, ())
    elif argv[0].startswith("-"):
        subject = verb.subject
        raise SparringError(
            f"the {subject} comes first: sparring {name} {subject.upper()} {argv[0]} ... (help: sparring {name} --help)"
        )
    else:
        function(argv[0], argv[1:])


def _fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr, wrapped at spaces on a terminal, and exit."""
    message = printable(re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...", f"sparring: {message}"), keep="\n\t")
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
