"""The command line: one function a verb. What is heavy is imported inside the verb that needs it."""

import contextlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import tyro
from pydantic import Field

import sparring
from sparring.errors import SparringError, unknown
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Argument, MakeRecipe, arguments, card, described, find, settle

if TYPE_CHECKING:
    from sparring.run import Run
    from sparring.system import System

RunPath = Annotated[Path, Field(description="a run directory, e.g. runs/0001-cs231n-dcgan-digits")]
RecipeName = Annotated[str | None, Field(description="a recipe that is not ours and that you trust: module:function")]
Truncation = Annotated[
    float | None,
    Field(gt=0, description="redraw codes beyond +- this: fewer, better images (BigGAN; default: none are)"),
]
Rounds = Annotated[int | None, Field(ge=1, description="rounds to play in all (default: the recipe's own)")]


def training_options(
    *,
    data: Annotated[
        str, Field(description="digits, mnist, fashion-mnist, cifar10, celeba, or a folder or zip of images")
    ],
    rounds: Rounds = None,
    out: Annotated[Path, Field(description="where run directories are made")] = Path("runs"),
    seed: Annotated[int, Field(ge=0, description="all randomness comes from it")] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="auto: bf16 where the hardware multiplies it natively and the recipe allows it"),
    ] = "auto",
    accumulate: Annotated[int, Field(ge=1, description="pieces each batch is cut into, to save memory")] = 1,
    size: Annotated[
        int | None, Field(ge=1, description="side in pixels (default: what the recipe was made for)")
    ] = None,
    channels: Annotated[Literal[1, 3] | None, Field(description="1 grey, 3 colour (default: as the data is)")] = None,
    classes: Annotated[str | None, Field(description="keep only these classes: 6 or cat,dog")] = None,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a named data set")] = None,
    log_every: Annotated[int, Field(ge=1, description="rounds between log lines")] = 10,
    show_every: Annotated[
        int | None, Field(ge=1, description="rounds between sample grids (default: rounds/40)")
    ] = None,
    measure_every: Annotated[int | None, Field(ge=1, description="rounds between FDs (default: rounds/10)")] = None,
    save_every: Annotated[int, Field(ge=1, description="rounds between checkpoints")] = 500,
) -> None:
    """Options of `sparring train` that every recipe has."""


def train(argv: Sequence[str]) -> None:
    """train a recipe on data:  sparring train cs231n-dcgan --data digits --rounds 2000"""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print("usage: sparring train RECIPE --data NAME|PATH [options]   (sparring train RECIPE --help shows them)\n")
        return recipes([])
    if name.startswith("-"):
        raise SparringError(f"the recipe comes first: sparring train RECIPE {name} ... (recipes: {', '.join(RECIPES)})")
    function = find(name, RECIPES)
    about = f"{inspect.getdoc(function)}\n\nPaper: {card(function).paper}"
    ours, theirs = arguments(training_options), arguments(function)
    given = _read(f"sparring train {name}", about, [*ours, *theirs], argv[1:])
    options = settle(training_options, {a.name: given[a.name] for a in ours if a.name in given})
    chosen = settle(function, {a.name: given[a.name] for a in theirs if a.name in given})

    from sparring.training import train

    run = train(name, options.pop("data"), **options, **chosen)
    _show(run)


def resume(
    run: RunPath,
    *,
    rounds: Annotated[int | None, Field(ge=1, description="a new end (default: the run's own)")] = None,
    recipe: RecipeName = None,
) -> None:
    """go on where a run was stopped:  sparring resume runs/0001-cs231n-dcgan-digits"""
    from sparring.training import resume

    _show(resume(run, rounds=rounds, recipe=recipe), recipe=recipe)


def _show(run: "Run", recipe: str | None = None) -> None:
    """Write the report and say where it is; once, when several processes have trained together."""
    from sparring.referee import processes
    from sparring.reporting import report

    if processes().is_main_process:
        print(f"run     {run.path}\nreport  {report(run, recipe=recipe)}")


def sample(
    run: RunPath,
    *,
    n: Annotated[int | None, Field(ge=1, le=4096, description="how many images (default: 8 rows)")] = None,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same images")] = 0,
    labels: Annotated[
        str | None, Field(description="classes to make, by name or number: 3 or 0,1,2 (default: each in turn)")
    ] = None,
    truncation: Truncation = None,
    out: Annotated[Path, Field(description="the picture, a PNG")] = Path("samples.png"),
    recipe: RecipeName = None,
) -> None:
    """a picture of new images:  sparring sample RUN -n 64 --seed 7 --out grid.png"""
    from sparring.pictures import grid, png
    from sparring.run import Run

    if out.suffix.lower() != ".png":
        raise SparringError(f"--out is {out}: the picture is a PNG, let its name end in .png")
    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.can("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    asked = _sampling(system, {"labels": labels, "truncation": truncation})
    columns = system.columns
    if labels is not None:
        asked["labels"] = kinds = _labels(labels, opened.facts["spec"]["classes"])
        columns = len(kinds) if len(kinds) > 1 else columns
    images = system.sample(n or 8 * columns, seed=seed, **asked)
    picture = png(grid(images, columns=columns if n is None or labels is not None else None))
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise SparringError(f"cannot write {out}: {error.strerror}") from None
    print(out)


def _labels(text: str, classes: Sequence[str]) -> list[int]:
    """Names or numbers, comma-separated, as numbers."""
    numbers = []
    for word in text.split(","):
        name = word.strip()
        if name not in classes and not name.isdigit():
            raise unknown("class", name, classes)
        numbers.append(list(classes).index(name) if name in classes else int(name))
    return numbers


def _sampling(system: "System", asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and this system's `sample` understands; an error for what it does not."""
    given = {name: value for name, value in asked.items() if value is not None}
    possible = inspect.signature(system.sample).parameters
    for name in given:
        if name not in possible:
            raise SparringError(f"--{name}: samples of {type(system).__name__} have no {name}")
    return given


def evaluate(
    run: RunPath,
    *,
    n: Annotated[int, Field(ge=20, description="images per measurement, at most what is held out")] = 10_000,
    split: Annotated[
        Literal["held_out", "test", "train"], Field(description="real images to compare with")
    ] = "held_out",
    seed: Annotated[int, Field(ge=0, description="of the samples")] = 0,
    truncation: Truncation = None,
    recipe: RecipeName = None,
) -> None:
    """measure a run, each number beside its real-vs-real floor:  sparring evaluate RUN --n 2000"""
    from rich.console import Console

    from sparring.evaluation import evaluate
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.can("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample, so its samples cannot be measured")
    sampling = _sampling(system, {"truncation": truncation})
    averaged = bool(system.averaged)
    result = evaluate(system, opened.data(), n=n, split=split, seed=seed, averaged=averaged, sampling=sampling)
    opened.write_evaluation(result.as_dict())
    Console().print(result.table())
    if result.classes:
        Console().print(result.class_table())
    for rate in result.rates:
        print(rate)


def report(run: RunPath, *, recipe: RecipeName = None) -> None:
    """write report.html, one self-contained page:  sparring report RUN"""
    from sparring.reporting import report

    print(report(run, recipe=recipe))


def check_data(
    path: Annotated[Path, Field(description="a folder or zip of images")],
) -> None:
    """look at images before training on them:  sparring check-data my-pictures/"""
    from sparring.data.check import check

    found = check(path)
    print(found)
    if not found.ok:
        raise SparringError(f"{path}: more than 1 % of the files are bad; training would refuse them")


def recipes(argv: Sequence[str]) -> None:
    """list recipes, or all about one:  sparring recipes cs231n-mlp [--json]"""
    names = [a for a in argv if not a.startswith("-")]
    for flag in argv:
        if flag.startswith("-") and flag not in ("--json", "-h", "--help"):
            raise unknown("option", flag, ["--json"])
    if "-h" in argv or "--help" in argv:
        print(
            "usage: sparring recipes [NAME] [--json]\n\nWithout a name: the list. With one: " + (recipes.__doc__ or "")
        )
    elif len(names) > 1:
        raise SparringError(f"one recipe at a time: {' '.join(names)}")
    elif names:
        _one_recipe(names[0], as_json="--json" in argv)
    elif "--json" in argv:
        print(json.dumps({name: {"paper": card(f).paper, "about": _first(f)} for name, f in _all().items()}, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("recipe", "what it is", "source", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name, function in _all().items():
            table.add_row(name, _first(function), card(function).paper)
        Console().print(table)
        print("\nAll about one: sparring recipes NAME")


def _all() -> dict[str, MakeRecipe]:
    return {name: find(name, RECIPES) for name in RECIPES}


def _first(function: MakeRecipe) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


def _one_recipe(name: str, *, as_json: bool) -> None:
    function = find(name, RECIPES)

    import torch

    from sparring.data.dataset import Spec
    from sparring.recipes.recipe import prepare_recipe

    channels = 1 if card(function).size == 28 else 3
    spec = Spec(channels, card(function).size, tuple(map(str, range(card(function).classes))))
    with torch.device("meta"):
        made = prepare_recipe(function, spec, settle(function, {}))
    networks = {n: sum(p.numel() for p in net.parameters()) for n, net in made.system.named_children()}
    facts = {
        "name": name,
        "paper": card(function).paper,
        "about": inspect.getdoc(function),
        "data": {"channels": spec.channels, "size": spec.size},
        "rounds": made.rounds,
        "batch": made.batch,
        "system": type(made.system).__name__,
        "players": {player: list(nets) for player, nets in made.system.players.items()},
        "networks": networks,
        "arguments": [
            {"name": a.name, "type": _metavar(a.type), "default": a.default, "help": a.help}
            for a in arguments(function)
        ],
    }
    if as_json:
        return print(json.dumps(facts, indent=1))

    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    paragraphs = [" ".join(p.split()) for p in str(facts["about"]).split("\n\n")]  # the terminal wraps them
    out.print("\n\n".join([f"[bold]{name}[/bold]   {facts['paper']}", *paragraphs]), end="\n\n")
    out.print(
        f"Rounds {made.rounds}, batch {made.batch}; counted for {spec.channels}x{spec.size}x{spec.size} images.\n"
    )
    table = Table("player", "network", "parameters", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for player, nets in made.system.players.items():
        for network in nets:
            table.add_row(player, network, str(networks[network]))
    out.print(table)
    table = Table("\nargument", "\ndefault", "\nwhat it is", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for a in arguments(function):
        table.add_row(_flag(a), str(a.default), f"{a.help}  [dim]{_metavar(a.type)}[/dim]")
    out.print(table)


# From a typed signature to flags, and back from strings to checked values.


def _read(prog: str, about: str, known: Sequence[Argument], argv: Sequence[str], first: Argument | None = None) -> dict:
    """Flags and values as strings, by argument name; only those that were given. tyro makes parser and help.

    Unknown flags are named here, values are checked by `settle`, and what tyro says in a box is put on one line.
    """
    flags = {_flag(a): a for a in known}
    for token in argv:
        name = token.partition("=")[0].replace("_", "-")
        if token.startswith("--") and name not in [*flags, *(_no(f) for f in flags), "--help"]:
            raise unknown("option", token.partition("=")[0], [*flags])
    fields: list[Any] = []
    if first is not None:
        mark = tyro.conf.arg(help=first.help, metavar=first.name.upper())
        fields.append((first.name, tyro.conf.Positional[Annotated[str, mark]]))
    for a in known:
        required = a.default is inspect.Parameter.empty
        is_flag = isinstance(a.default, bool)
        kind: Any = bool if is_flag else str
        note = tyro.conf.arg(
            help=a.help if required or is_flag or a.default is None else f"{a.help} (default: {a.default})",
            help_behavior_hint="(required)" if required else (None if is_flag else ""),
            metavar=None if is_flag else _metavar(a.type),
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
        raise SparringError(f"{_unboxed(said.getvalue())} (help: {prog} --help)") from None
    values = {f[0]: getattr(parsed, f[0]) for f in fields}
    return {name: value for name, value in values.items() if value != GIVEN_NOT}


def _unboxed(box: str) -> str:
    """The words of a box up to its first rule, as one line."""
    lines = [line.strip("│ ") for line in box.splitlines()]
    rule = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    return " ".join(line for line in lines[:rule] if not line.startswith(("╭", "╰")))


GIVEN_NOT = "\0"


def _flag(a: Argument) -> str:
    return "--" + a.name.replace("_", "-")


def _no(flag: str) -> str:
    return "--no-" + flag.removeprefix("--")


def _metavar(kind: Any) -> str:
    """A type as the help shows it."""
    if get_origin(kind) is Annotated:
        return _metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if args := [a for a in get_args(kind) if a is not type(None)]:
        return _metavar(args[0])
    return {int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH"}.get(kind, "TEXT")


def _call(name: str, verb: Callable[..., None], argv: Sequence[str]) -> None:
    """Run a verb whose signature is its command line: one positional argument, then keyword-only flags."""
    positional = next(iter(inspect.signature(verb).parameters.values()))
    first = Argument(positional.name, positional.annotation, positional.default, described(positional.annotation))
    given = _read(f"sparring {name}", inspect.getdoc(verb) or "", arguments(verb), argv, first)
    path = Path(given.pop(first.name))
    verb(path, **settle(verb, given))


VERBS: dict[str, Callable[..., None]] = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "evaluate": evaluate,
    "report": report,
    "recipes": recipes,
    "check-data": check_data,
}

OWN_COMMAND_LINE = (train, recipes)
"""Verbs that read their command line themselves: what they accept depends on a name in it."""


def _overview() -> str:
    lines = ["usage: sparring VERB ...", "", "Generative models that learn by playing against each other.", ""]
    for name, verb in VERBS.items():
        what, _, example = (verb.__doc__ or "").partition(":  ")
        lines += [f"  {name:<11} {what}", f"  {'':<11}     {example}"]
    lines += ["", "Help on one verb: sparring VERB --help. Exit codes: 0 done, 2 wrong input, 3 training diverged,"]
    lines += ["4 the disk refused, 130 and 143 stopped by Ctrl-C and SIGTERM after saving."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `sparring`. An error that the user can mend is one line on stderr and an exit code, no traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(_overview())
        elif argv[0] == "--version":
            print(f"sparring {sparring.__version__}")
        elif argv[0] not in VERBS:
            raise unknown("verb", argv[0], VERBS)
        elif (verb := VERBS[argv[0]]) in OWN_COMMAND_LINE:
            verb(argv[1:])
        else:
            _call(argv[0], verb, argv[1:])
    except SparringError as error:
        print(f"sparring: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
