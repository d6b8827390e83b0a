"""The verb that tells what there is to train."""

import inspect
from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING

from sparring.cli.parser import flag, metavar
from sparring.errors import SparringError, unknown_name_error
from sparring.recipes import RECIPES
from sparring.recipes.recipe import RecipeFunction, arguments, info, load_recipe, resolve_arguments

if TYPE_CHECKING:
    from rich.table import Table


def recipes(argv: Sequence[str]) -> None:
    """list recipes, or all about one:  sparring recipes cs231n-mlp [--json]"""
    names = [a for a in argv if not a.startswith("-")]
    for word in argv:
        if word.startswith("-") and word not in ("--json", "-h", "--help"):
            raise unknown_name_error("option", word, ["--json"])
    if "-h" in argv or "--help" in argv:
        print(
            "usage: sparring recipes [NAME] [--json]\n\nWithout a name: the list. With one: " + (recipes.__doc__ or "")
        )
    elif len(names) > 1:
        raise SparringError(f"one recipe at a time: {' '.join(names)}")
    elif names:
        _one_recipe(names[0], as_json="--json" in argv)
    elif "--json" in argv:
        print(dumps({name: {"paper": info(f).paper, "about": _first(f)} for name, f in _all().items()}, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("recipe", "what it is", "source", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name, function in _all().items():
            table.add_row(name, _first(function), info(function).paper)
        Console().print(table)
        print("\nAll about one: sparring recipes NAME")


def _all() -> dict[str, RecipeFunction]:
    return {name: load_recipe(name, RECIPES) for name in RECIPES}


def _first(function: RecipeFunction) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


def _one_recipe(name: str, *, as_json: bool) -> None:
    function = load_recipe(name, RECIPES)

    import torch

    from sparring.data.dataset import Spec
    from sparring.recipes.recipe import build_recipe

    channels = 1 if info(function).size in (13, 28) else 3
    spec = Spec(channels, info(function).size, tuple(map(str, range(info(function).classes))))
    with torch.device("meta"):
        made = build_recipe(function, spec, resolve_arguments(function, {}))
    networks = {n: sum(p.numel() for p in net.parameters()) for n, net in made.system.named_children()}
    config = {
        "name": name,
        "paper": info(function).paper,
        "about": inspect.getdoc(function),
        "data": {"channels": spec.channels, "size": spec.size},
        "rounds": made.rounds,
        "batch": made.batch,
        "system": type(made.system).__name__,
        "players": {player: list(nets) for player, nets in made.system.players.items()},
        "networks": networks,
        "arguments": [
            {"name": a.name, "type": metavar(a.type), "default": a.default, "help": a.help} for a in arguments(function)
        ],
    }
    if as_json:
        return print(dumps(config, indent=1))

    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    out.print(f"[bold]{name}[/bold]   {config['paper']}", end="\n\n")
    for paragraph in str(config["about"]).split("\n\n"):
        if paragraph.startswith("|"):
            out.print(_table(paragraph), "")
        else:
            out.print(" ".join(paragraph.split()), end="\n\n")  # the terminal wraps them
    out.print(
        f"Rounds {made.rounds}, batch {made.batch}; counted for {spec.channels}x{spec.size}x{spec.size} images.\n"
    )
    if short := info(function).measured:
        flags = f"{short.options} --rounds {short.rounds}".strip()
        out.print(f"Shorter, on {short.data}: {flags}, {short.minutes:g} minutes, gave {short.result}.\n", markup=False)
    table = Table("player", "network", "parameters", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for player, nets in made.system.players.items():
        for network in nets:
            table.add_row(player, network, str(networks[network]))
    out.print(table)
    table = Table("\nargument", "\ndefault", "\nwhat it is", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for a in arguments(function):
        table.add_row(flag(a), str(a.default), f"{a.help}  [dim]{metavar(a.type)}[/dim]")
    out.print(table)


def _table(text: str) -> "Table":
    """A table of a docstring, as Markdown has them."""
    from rich.table import Table

    head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    table = Table(*head, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table
