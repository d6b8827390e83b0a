"""The command line: one function a verb. What is heavy is imported inside the verb that needs it."""

import contextlib
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import tyro
from pydantic import Field

import sparring
from sparring.errors import SparringError, unknown
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Argument, MakeRecipe, arguments, card, described, find, settle

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.data.dataset import Dataset
    from sparring.run import Run
    from sparring.system import System

RunPath = Annotated[Path, Field(description="a run directory, e.g. runs/0001-cs231n-dcgan-digits")]
ImagesPath = Annotated[Path, Field(description="an image, or a folder or zip of images")]
RecipeName = Annotated[str | None, Field(description="a recipe that is not ours and that you trust: module:function")]
Truncation = Annotated[
    float | None,
    Field(gt=0, description="redraw codes beyond +- this: fewer, better images (BigGAN; default: none are)"),
]
Rounds = Annotated[int | None, Field(ge=1, description="rounds to play in all (default: the recipe's own)")]


def training_options(
    *,
    data: Annotated[
        str,
        Field(description="digits, mnist, fashion-mnist, cifar10, celeba, nci, a folder or zip of images, or SMILES"),
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

    _require_png(out)
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
    _write(out, png(grid(images, columns=columns if n is None or labels is not None else None)))
    print(out)


def _require_png(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise SparringError(f"--out is {out}: the picture is a PNG, let its name end in .png")


def _write(out: Path, picture: bytes) -> None:
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise SparringError(f"cannot write {out}: {error.strerror}") from None


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
    possible = inspect.signature(system.sample).parameters if system.can("sample") else {}
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
    parzen: Annotated[
        bool, Field(description="the log-likelihood of Goodfellow et al. 2014 too: history, no claim of quality")
    ] = False,
    recipe: RecipeName = None,
) -> None:
    """measure a run, each number beside its real-vs-real floor:  sparring evaluate RUN --n 2000"""
    from rich.console import Console

    from sparring.evaluation import evaluate
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    result = evaluate(
        system,
        opened.data(),
        n=n,
        split=split,
        seed=seed,
        averaged=bool(system.averaged),
        sampling=_sampling(system, {"truncation": truncation}),
        parzen=parzen,
    )
    opened.write_evaluation(result.as_dict())
    if result.measures:
        Console().print(result.table())
    if result.classes:
        Console().print(result.class_table())
    for number in (*result.rates, *(finding for section in result.findings.values() for finding in section)):
        print(number)


def reconstruct(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=4096, description="at most so many images, evenly spaced")] = 64,
    labels: Annotated[
        str | None,
        Field(description="classes of the images, where the system must know them: 3 or 0,1,2 (default: the folders)"),
    ] = None,
    out: Annotated[Path, Field(description="the picture, a PNG")] = Path("reconstructions.png"),
    recipe: RecipeName = None,
) -> None:
    """images, and below them what their codes keep:  sparring reconstruct RUN my-pictures/ --out pairs.png"""
    import torch

    from sparring.data.pixels import to_float
    from sparring.evaluation import reconstructed
    from sparring.metrics import squared_errors
    from sparring.pictures import grid, png

    _require_png(out)
    system, part, _, classes = _given(run, images, "reconstruct", n, recipe)
    part = replace(part, labels=_told(system, labels, part, classes))
    pictures = reconstructed(system, part)
    columns = min(8, n, len(part))
    blank = torch.full((-len(part) % columns, *part.images.shape[1:]), 255, dtype=torch.uint8)
    above, below = (torch.cat([rows, blank]).split(columns) for rows in (part.images, pictures))
    pairs = [row for pair in zip(above, below, strict=True) for row in pair]
    _write(out, png(grid(to_float(torch.cat(pairs)), columns=columns)))
    error = squared_errors(real=part.images, fake=pictures).mean()
    print(f"reconstruction error {error:.4g} per pixel (0 to 1), n = {len(part):,}")
    print(out)


def _told(system: "System", labels: str | None, part: "Dataset", classes: Sequence[str]) -> "Tensor | None":
    """The images' classes as numbers, for a system that reconstructs an image of a known class; None for the others."""
    import torch

    kind = type(system).__name__
    if "labels" not in inspect.signature(system.reconstruct).parameters:
        if labels is not None:
            raise SparringError(f"--labels: {kind} reconstructs images without labels")
        return None
    if labels is not None:
        return system.labels_for(len(part), _labels(labels, classes)).cpu()
    if part.labels is None or not set(part.classes) <= set(classes):
        raise SparringError(
            f"{kind} must know the class of an image: give --labels, or folders named {', '.join(classes)}"
        )
    return torch.tensor([list(classes).index(name) for name in part.classes])[part.labels]


def classify(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=100_000, description="at most so many images, evenly spaced")] = 1000,
    json: Annotated[bool, Field(description="as JSON: file, class, probability")] = False,
    recipe: RecipeName = None,
) -> None:
    """the class of each image, and how sure it is:  sparring classify RUN my-pictures/ [--json]"""
    from sparring.data.listing import shown
    from sparring.evaluation import in_chunks

    system, part, names, classes = _given(run, images, "classify", n, recipe)
    surest = in_chunks(system.classify, part.images).max(1)
    found = zip(names, surest.indices.tolist(), surest.values.exp().tolist(), strict=True)
    rows = [{"file": name, "class": classes[kind], "probability": sure} for name, kind, sure in found]
    if json:
        return print(dumps(rows, indent=1))

    from rich.console import Console
    from rich.table import Table

    table = Table("file", "class", "probability", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(shown(str(row["file"])), row["class"], f"{row['probability']:.3f}")
    Console(highlight=False, markup=False).print(table)


def _given(
    run: Path, images: Path, ability: str, most: int, recipe: str | None
) -> "tuple[System, Dataset, list[str], list[str]]":
    """A run's system, the user's images as that system knows images, their names, and the names of the classes.

    Raises SparringError when the system has not the ability. What was passed over is said on stderr.
    """
    from sparring.data.sources import load_few
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.can(ability):
        raise SparringError(f"{type(system).__name__} cannot {ability} images")
    spec = opened.facts["spec"]
    part, names = load_few(images, size=spec["size"], channels=spec["channels"], most=most)
    for note in part.notes:
        print(f"sparring: {note}", file=sys.stderr)
    return system, part, names, spec["classes"]


def report(run: RunPath, *, recipe: RecipeName = None) -> None:
    """write report.html, one self-contained page:  sparring report RUN"""
    from sparring.reporting import report

    print(report(run, recipe=recipe))


def check_data(
    path: Annotated[Path, Field(description="a folder or zip of images, a file of SMILES, or the name of a data set")],
) -> None:
    """look at images before training on them:  sparring check-data my-pictures/"""
    from sparring.data.check import check

    found = check(str(path))
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
        print(dumps({name: {"paper": card(f).paper, "about": _first(f)} for name, f in _all().items()}, indent=1))
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

    channels = 1 if card(function).size in (13, 28) else 3
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
        return print(dumps(facts, indent=1))

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


def _read(
    prog: str, about: str, known: Sequence[Argument], argv: Sequence[str], first: Sequence[Argument] = ()
) -> dict:
    """Flags and values as strings, by argument name; only those that were given. tyro makes parser and help.

    Unknown flags are named here, values are checked by `settle`, and what tyro says in a box is put on one line.
    """
    flags = {_flag(a): a for a in known}
    for token in argv:
        name = token.partition("=")[0].replace("_", "-")
        if token.startswith("--") and name not in [*flags, *(_no(f) for f in flags), "--help"]:
            raise unknown("option", token.partition("=")[0], [*flags])
    fields: list[Any] = []
    for a in first:
        mark = tyro.conf.arg(help=a.help, metavar=a.name.upper())
        fields.append((a.name, tyro.conf.Positional[Annotated[str, mark]]))
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
    """Run a verb whose signature is its command line: paths as positional arguments, then keyword-only flags."""
    paths = [
        Argument(p.name, p.annotation, p.default, described(p.annotation))
        for p in inspect.signature(verb).parameters.values()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    given = _read(f"sparring {name}", inspect.getdoc(verb) or "", arguments(verb), argv, paths)
    found = [Path(given.pop(path.name)) for path in paths]
    verb(*found, **settle(verb, given))


VERBS: dict[str, Callable[..., None]] = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "evaluate": evaluate,
    "reconstruct": reconstruct,
    "classify": classify,
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
