"""Command-line flags and help from a typed signature, and validated values from strings."""

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

NOT_GIVEN = "\0"


def call(name: str, verb: Callable[..., None], argv: Sequence[str]) -> None:
    """Run a verb whose signature is its command line.

    Paths are positional arguments (`*paths`: one or more; a path that may also be a name is a `str`); flags are
    keyword-only.
    """
    paths = [p for p in inspect.signature(verb).parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    positional = [Argument(p.name, p.annotation, p.default, description_of(p.annotation)) for p in paths]
    variadic = [p.name for p in paths if p.kind is inspect.Parameter.VAR_POSITIONAL]
    values = read(f"sparring {name}", inspect.getdoc(verb) or "", arguments(verb), argv, positional, variadic)
    located: list[str | Path] = []
    for path in paths:
        words = values.pop(path.name, ())
        is_text = get_args(path.annotation)[:1] == (str,)
        locate: Any = run_folder if path.annotation in (RunPath, RunOrImages) else str if is_text else Path
        for word in [words] if isinstance(words, str) else words:
            if not word:
                raise SparringError(f"{path.name.upper()} is empty; the current folder is '.'")
            located.append(locate(word))
    if any("\0" in str(path) for path in located):
        raise SparringError("a path contains a zero byte")
    verb(*located, **resolve_arguments(verb, values))


def read(
    prog: str,
    about: str,
    options: Sequence[Argument],
    argv: Sequence[str],
    positional: Sequence[Argument] = (),
    variadic: Sequence[str] = (),
) -> dict:
    """Parse `argv` with tyro into strings by argument name; arguments that are not given are left out.

    Arguments named in `variadic` take one or more values and come as a tuple. Unknown flags are reported here with a
    suggestion; `resolve_arguments` validates the values. Raises SparringError with tyro's message as one line.
    """
    flags = {flag(a): a for a in options}
    for token in argv:
        name = token.partition("=")[0].replace("_", "-")
        if token.startswith("--") and name not in [*flags, *(negated(f) for f in flags), "--help"]:
            raise _unknown_flag(token.partition("=")[0], [*flags])
    fields: list[Any] = []
    for a in positional:
        kind: Any = tuple[str, ...] if a.name in variadic else str
        required = a.default is inspect.Parameter.empty
        hint = "(one or more)" if a.name in variadic else None if required else ""
        mark = tyro.conf.arg(help=a.help, metavar=a.name.upper(), help_behavior_hint=hint)
        kind = Annotated[kind, mark, tyro.conf.Positional]
        fields.append((a.name, kind, *([] if required else [field(default=NOT_GIVEN)])))
    for a in options:
        required = a.default is inspect.Parameter.empty
        is_flag = isinstance(a.default, bool)
        kind = bool if is_flag else str
        note = tyro.conf.arg(
            help=a.help if required or is_flag or a.default is None else f"{a.help} (default: {a.default})",
            help_behavior_hint="(required)" if required else (None if is_flag else ""),
            metavar=None if is_flag else metavar(a.type),
            aliases=("-n",) if a.name == "n" else None,
        )
        default = a.default if is_flag else NOT_GIVEN
        fields.append((a.name, Annotated[kind, note], *([] if required else [field(default=default)])))
    fields.sort(key=len)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed: Any = tyro.cli(make_dataclass("Options", fields), prog=prog, description=about, args=list(argv))
    except SystemExit as end:
        if not end.code:
            raise
        raise SparringError(f"{unboxed(stderr.getvalue())} (help: {prog} --help)") from None
    values = {f[0]: getattr(parsed, f[0]) for f in fields}
    for name in variadic:
        if not values[name]:
            raise SparringError(f"the following arguments are required: {name.upper()} (help: {prog} --help)")
    return {name: value for name, value in values.items() if value != NOT_GIVEN}


def _unknown_flag(name: str, flags: list[str]) -> SparringError:
    """The error of an unknown flag, with a suggestion by meaning if there is one, else by spelling."""
    hint = meant_flag(name, flags)
    if hint:
        return SparringError(f"unknown option '{name}': {hint} (possible: {', '.join(flags)})")
    return unknown_name_error("option", name, flags)


def unboxed(box: str) -> str:
    """The text of tyro's error box between its title and its first rule, as one line.

    In ASCII mode the box also has a rule below its title.
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
    """A type as shown in the help."""
    if get_origin(kind) is Annotated:
        return metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if args := [a for a in get_args(kind) if a is not type(None)]:
        return metavar(args[0])
    return {int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH"}.get(kind, "TEXT")
