"""Command lines from typed signatures: argparse splits the words, pydantic validates the values."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

from sparring.cli.synonyms import meant_flag
from sparring.errors import SparringError, printable, unknown_name_error
from sparring.recipes.recipe import Argument, arguments, description_of, resolve_argument

INDENT = 26
"""Column of the descriptions in the help."""


@dataclass(frozen=True)
class Command:
    """A command line.

    prog         as typed: "sparring train dcgan"
    description  paragraphs of the help
    positional   arguments without a flag; one of type `tuple[X, ...]` takes one or more values
    flags        heading in the help -> arguments with a flag
    example      a command line, for the help
    """

    prog: str
    description: str
    positional: Sequence[Argument] = ()
    flags: Mapping[str, Sequence[Argument]] = field(default_factory=dict)
    example: str = ""

    def __post_init__(self) -> None:
        names = [a.name for a in self._all_flags()]
        for name in names:
            if names.count(name) > 1:
                raise SparringError(f"{self.prog} has two arguments '{name}': rename that of the recipe")

    @classmethod
    def of(cls, prog: str, function: Callable[..., None], example: str = "") -> Command:
        """The command line of a function: positional parameters, then flags for the keyword-only ones.

        A parameter that is a dataclass stands for its fields, under a heading of their own: the first line of its
        docstring.
        """
        positional = []
        for p in inspect.signature(function, eval_str=True).parameters.values():
            if p.kind is not p.KEYWORD_ONLY:
                kind: Any = tuple[p.annotation, ...] if p.kind is p.VAR_POSITIONAL else p.annotation  # type: ignore[name-defined]
                positional.append(Argument(p.name, kind, p.default, description_of(p.annotation)))
        flags = {"options": [a for a in arguments(function) if a.group is None]}
        for a in arguments(function):
            if a.group is not None:
                heading = (inspect.getdoc(_type_of_group(function, a.group)) or "").splitlines()[0].rstrip(".")
                flags.setdefault(heading[:1].lower() + heading[1:], []).append(a)
        return cls(prog, inspect.getdoc(function) or "", positional, flags, example)

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """Argument name -> validated value; arguments that are not given are left out.

        Prints the help and exits if `argv` requests it. Raises SparringError for unknown flags, with a suggestion, and
        for missing, superfluous or invalid values.
        """
        known = {flag(a) for a in self._all_flags()}
        for word in argv:
            name = word.partition("=")[0]
            hyphens = name.replace("_", "-")
            if name.startswith("--") and hyphens not in {"--help", *known, *map(negated, known)}:
                raise _unknown_flag(name, [flag(a) for a in self._all_flags()])
        words = [_with_hyphens(word) if word.startswith("--") else word for word in argv]
        given = vars(self._parser().parse_args(words))
        values = {a.name: _locate(a, given[a.name]) for a in self.positional if a.name in given}
        return values | {a.name: resolve_argument(a, given[a.name]) for a in self._all_flags() if a.name in given}

    def run(self, function: Callable[..., None], argv: Sequence[str]) -> None:
        """Call the function that this command line was made of with the parsed arguments."""
        values = self.parse(argv)
        paths: list[Any] = []
        for argument in self.positional:
            value = values.pop(argument.name, argument.default)
            paths += value if _is_variadic(argument) else [value]
        groups: dict[str, dict[str, Any]] = {}
        for argument in self._all_flags():
            if argument.group is not None and argument.name in values:
                groups.setdefault(argument.group, {})[argument.name] = values.pop(argument.name)
        function(*paths, **values, **{name: _type_of_group(function, name)(**own) for name, own in groups.items()})

    def _all_flags(self) -> Iterator[Argument]:
        for group in self.flags.values():
            yield from group

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(self)
        for a in self.positional:
            nargs = "+" if _is_variadic(a) else None if _is_required(a) else "?"
            parser.add_argument(a.name, nargs=nargs, metavar=a.name.upper())
        for a in self._all_flags():
            names = [flag(a), *(["-n"] if a.name == "n" else [])]
            if isinstance(a.default, bool):
                parser.add_argument(*names, dest=a.name, action=argparse.BooleanOptionalAction)
            else:
                parser.add_argument(*names, dest=a.name, required=_is_required(a))
        return parser

    def help(self, width: int, bold: bool = False) -> str:
        """The help text, wrapped to `width` columns; headings are in bold type for a terminal."""

        def heading(text: str) -> str:
            return f"\033[1m{text}:\033[0m" if bold else f"{text}:"

        paths = [f"{a.name.upper()}{' ...' if _is_variadic(a) else ''}" for a in self.positional]
        paths = [path if _is_required(a) else f"[{path}]" for path, a in zip(paths, self.positional, strict=True)]
        required = [f"{flag(a)} {metavar(a.type)}" for a in self._all_flags() if _is_required(a)]
        lines = [" ".join([heading("usage"), self.prog, *paths, *required, "[options]"]), ""]
        lines += [_filled(self.description, width), ""]
        if self.positional:
            rows = [(a.name.upper(), a.help) for a in self.positional]
            lines += [heading("arguments"), *(_row(name, text, width) for name, text in rows), ""]
        for title, group in self.flags.items():
            lines += [heading(title), *(_row(_flags(a), _help(a), width) for a in group), ""]
        lines += [_row("-h, --help", "show this help", width)]
        return "\n".join([*lines, *(["", f"{heading('example')} {self.example}"] if self.example else [])]) + "\n"


class _Parser(argparse.ArgumentParser):
    """argparse with our help and one-line errors."""

    def __init__(self, command: Command) -> None:
        super().__init__(prog=command.prog, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self.command = command

    def format_help(self) -> str:
        bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        return self.command.help(get_terminal_size().columns, bold)

    def error(self, message: str) -> NoReturn:
        raise SparringError(f"{printable(message)} (help: {self.prog} --help)")


def flag(a: Argument) -> str:
    """The flag of an argument: --latent-dim."""
    return "--" + a.name.replace("_", "-")


def negated(flag: str) -> str:
    """The flag that switches a boolean off: --no-monitor."""
    return "--no-" + flag.removeprefix("--")


def metavar(kind: Any) -> str:
    """A type as shown in the help."""
    if get_origin(kind) is Annotated:
        return metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if args := [a for a in get_args(kind) if a is not type(None)]:
        return "FLOAT" if float in args else metavar(args[0])
    return {int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH"}.get(kind, "TEXT")


def _type_of_group(function: Callable[..., None], name: str) -> Any:
    """The dataclass that is the type of this parameter."""
    return inspect.signature(function, eval_str=True).parameters[name].annotation


def _is_required(a: Argument) -> bool:
    return a.default is inspect.Parameter.empty


def _is_variadic(a: Argument) -> bool:
    return get_origin(a.type) is tuple


def _locate(a: Argument, given: str | list[str]) -> Any:
    """The validated value of a positional argument."""
    if isinstance(given, list):
        one = Argument(a.name, get_args(a.type)[0], a.default, a.help)
        return [_locate(one, word) for word in given]
    if not given:
        raise SparringError(f"{a.name.upper()} is empty" + "; the current folder is '.'" * (metavar(a.type) == "PATH"))
    if "\0" in given:
        raise SparringError(f"{a.name.upper()} contains a zero byte")
    return resolve_argument(a, given)


def _with_hyphens(word: str) -> str:
    """--latent_dim=8 as --latent-dim=8."""
    name, sign, value = word.partition("=")
    return name.replace("_", "-") + sign + value


def _unknown_flag(name: str, flags: list[str]) -> SparringError:
    """The error of an unknown flag, with a suggestion by meaning if there is one, else by spelling."""
    hint = meant_flag(name, flags)
    if hint:
        return SparringError(f"unknown option '{name}': {hint} (possible: {', '.join(flags)})")
    return unknown_name_error("option", name, flags)


# Help.


def _flags(a: Argument) -> str:
    """The left column of the help: `--seed INT`, `--[no-]monitor`."""
    if isinstance(a.default, bool):
        return f"--[no-]{flag(a).removeprefix('--')}"
    return f"{'-n, ' if a.name == 'n' else ''}{flag(a)} {metavar(a.type)}"


def _help(a: Argument) -> str:
    """The right column of the help: the description, and the default unless the description states it."""
    if _is_required(a):
        return f"{a.help} (required)"
    if isinstance(a.default, bool):
        return f"{a.help} (default: {'on' if a.default else 'off'})"
    return a.help if a.default is None or a.default == "" else f"{a.help} (default: {a.default})"


def _row(name: str, text: str, width: int) -> str:
    """A row of the help: a name, and a description wrapped in its own column."""
    head, first = f"  {name}", " " * INDENT
    lines = textwrap.wrap(text, max(width - INDENT - 1, 24), break_long_words=False, break_on_hyphens=False) or [""]
    if len(head) > INDENT - 2:
        lines.insert(0, "")
        first = ""
    return "\n".join([(head.ljust(len(first)) + lines[0]).rstrip(), *(" " * INDENT + line for line in lines[1:])])


def _filled(text: str, width: int) -> str:
    """Paragraphs wrapped to the width; tables and indented lines are left as they are."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if any(line.startswith(("|", "  ")) for line in paragraph.splitlines()):
            paragraphs.append(paragraph)
        else:
            paragraphs.append(
                textwrap.fill(" ".join(paragraph.split()), max(width - 1, 24), break_long_words=False,
                              break_on_hyphens=False)
            )  # fmt: skip
    return "\n\n".join(paragraphs)
