"""From a typed signature to flags and help, and back from strings to checked values."""

import contextlib
import inspect
import io
from collections.abc import Callable, Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

from sparring.cli.common import RunOrImages, RunPath, run_folder
from sparring.cli.synonyms import meant_flag
from sparring.errors import SparringError, unknown_name_error
from sparring.recipes.recipe import Argument, arguments, description_of, resolve_arguments

GIVEN_NOT = "\0"


def call(name: str, verb: Callable[..., None], argv: Sequence[str]) -> None:
    """Run a verb whose signature is its command line: paths as positional arguments (`*paths`: one or more; where one
    may be a name, too, it is a `str`), then keyword-only flags.
    """
    paths = [p for p in inspect.signature(verb).parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    first = [Argument(p.name, p.annotation, p.default, description_of(p.annotation)) for p in paths]
    many = [p.name for p in paths if p.kind is inspect.Parameter.VAR_POSITIONAL]
    given = read(f"sparring {name}", inspect.getdoc(verb) or "", arguments(verb), argv, first, many)
    flat: list[str | Path] = []
    for path in paths:
        words = given.pop(path.name, ())
        text = get_args(path.annotation)[:1] == (str,)
        locate: Any = run_folder if path.annotation in (RunPath, RunOrImages) else str if text else Path
        for one in [words] if isinstance(words, str) else words:
            if not one:
                raise SparringError(f"{path.name.upper()} is empty; the current folder is '.'")
            flat.append(locate(one))
    if any("\0" in str(path) for path in flat):
        raise SparringError("a path has a zero byte in it")
    verb(*flat, **resolve_arguments(verb, given))


def read(
    prog: str,
    about: str,
    known: Sequence[Argument],
    argv: Sequence[str],
    first: Sequence[Argument] = (),
    many: Sequence[str] = (),
) -> dict:
    """Flags and values as strings, by argument name; only those that were given. tyro makes parser and help.

    `first` are positional; those named in `many` take one or more values and come as a tuple. Unknown flags are named
    here, values are checked by `resolve_arguments`, and what tyro says in a box is put on one line.
    """
    flags = {flag(a): a for a in known}
    for token in argv:
        name = token.partition("=")[0].replace("_", "-")
        if token.startswith("--") and name not in [*flags, *(negated(f) for f in flags), "--help"]:
            raise _unknown_flag(token.partition("=")[0], [*flags])
    fields: list[Any] = []
    for a in first:
        kind: Any = tuple[str, ...] if a.name in many else str
        wanted = a.default is inspect.Parameter.empty
        hint = "(one or more)" if a.name in many else None if wanted else ""
        mark = tyro.conf.arg(help=a.help, metavar=a.name.upper(), help_behavior_hint=hint)
        kind = Annotated[kind, mark, tyro.conf.Positional]
        fields.append((a.name, kind, *([] if wanted else [field(default=GIVEN_NOT)])))
    for a in known:
        required = a.default is inspect.Parameter.empty
        is_flag = isinstance(a.default, bool)
        kind = bool if is_flag else str
        note = tyro.conf.arg(
            help=a.help if required or is_flag or a.default is None else f"{a.help} (default: {a.default})",
            help_behavior_hint="(required)" if required else (None if is_flag else ""),
            metavar=None if is_flag else metavar(a.type),
            aliases=("-n",) if a.name == "n" else None,
        )
        default = a.default if is_flag else GIVEN_NOT
        fields.append((a.name, Annotated[kind, note], *([] if required else [field(default=default)])))
    fields.sort(key=len)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed: Any = tyro.cli(make_dataclass("Options", fields), prog=prog, description=about, args=list(argv))
    except SystemExit as end:
        if not end.code:
            raise
        raise SparringError(f"{unboxed(said.getvalue())} (help: {prog} --help)") from None
    values = {f[0]: getattr(parsed, f[0]) for f in fields}
    for name in many:
        if not values[name]:
            raise SparringError(f"the following arguments are required: {name.upper()} (help: {prog} --help)")
    return {name: value for name, value in values.items() if value != GIVEN_NOT}


def _unknown_flag(given: str, flags: list[str]) -> SparringError:
    """What is meant is asked by meaning first, and by spelling where that says nothing."""
    hint = meant_flag(given, flags)
    if hint:
        return SparringError(f"unknown option '{given}': {hint} (possible: {', '.join(flags)})")
    return unknown_name_error("option", given, flags)


def unboxed(box: str) -> str:
    """The words of a box between its title and its first rule, as one line.

    Where a terminal knows ASCII only, a rule stands below the title, too.
    """
    lines = [words for line in box.splitlines() if (words := line.strip("│ ")) and not words.startswith(("╭", "╰"))]
    rules = [i for i, line in enumerate(lines) if set(line) <= {"─", "-"}]
    start = rules.pop(0) + 1 if rules[:1] == [1] else 0
    return " ".join(lines[start : rules[0] if rules else None])


def flag(a: Argument) -> str:
    return "--" + a.name.replace("_", "-")


def negated(flag: str) -> str:
    return "--no-" + flag.removeprefix("--")


def metavar(kind: Any) -> str:
    """A type as the help shows it."""
    if get_origin(kind) is Annotated:
        return metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if args := [a for a in get_args(kind) if a is not type(None)]:
        return metavar(args[0])
    return {int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH"}.get(kind, "TEXT")
