"""The verb `recipes`: what can be trained."""

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
    """list recipes, or show one in detail:  sparring recipes cs231n-mlp [--json]"""
    names = [a for a in argv if not a.startswith("-")]
    for option in argv:
        if option.startswith("-") and option not in ("--json", "-h", "--help"):
            raise unknown_name_error("option", option, ["--json"])
    if "-h" in argv or "--help" in argv:
        print(
            "usage: sparring recipes [NAME] [--json]\n\n"
            "Lists all recipes; with NAME shows paper, networks and arguments of one: sparring recipes cs231n-mlp"
        )
    elif len(names) > 1:
        raise SparringError(f"give one recipe, not {len(names)}: {' '.join(names)}")
    elif names:
        _show_recipe(names[0], as_json="--json" in argv)
    elif "--json" in argv:
        print(
            dumps(
                {name: {"paper": info(f).paper, "about": _first_line(f)} for name, f in _all_recipes().items()},
                indent=1,
            )
        )
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("recipe", "description", "source", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name, function in _all_recipes().items():
            table.add_row(name, _first_line(function), info(function).paper)
        Console().print(table)
        print("\nDetails of one recipe: sparring recipes NAME")


def _all_recipes() -> dict[str, RecipeFunction]:
    return {name: load_recipe(name, RECIPES) for name in RECIPES}


def _first_line(function: RecipeFunction) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


def _show_recipe(name: str, *, as_json: bool) -> None:
    function = load_recipe(name, RECIPES)

    import torch

    from sparring.data.dataset import Spec
    from sparring.recipes.recipe import build_recipe

    channels = 1 if info(function).size in (13, 28) else 3
    spec = Spec(channels, info(function).size, info(function).size, tuple(map(str, range(info(function).classes))))
    with torch.device("meta"):
        built = build_recipe(function, spec, resolve_arguments(function, {}))
    networks = {n: sum(p.numel() for p in net.parameters()) for n, net in built.system.named_children()}
    config = {
        "name": name,
        "paper": info(function).paper,
        "about": inspect.getdoc(function),
        "data": {"channels": spec.channels, "height": spec.height, "width": spec.width},
        "rounds": built.rounds,
        "batch": built.batch,
        "system": type(built.system).__name__,
        "players": {player: list(nets) for player, nets in built.system.players.items()},
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
            out.print(" ".join(paragraph.split()), end="\n\n")  # rich wraps the lines
    out.print(
        f"Rounds {built.rounds}, batch {built.batch}; parameter counts for {spec.channels}x{spec.height}x{spec.width} "
        "images.\n"
    )
    if short := info(function).measured:
        flags = f"{short.options} --rounds {short.rounds}".strip()
        out.print(f"Shorter run on {short.data}: {flags}, {short.minutes:g} minutes: {short.result}.\n", markup=False)
    table = Table("player", "network", "parameters", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for player, nets in built.system.players.items():
        for network in nets:
            table.add_row(player, network, str(networks[network]))
    out.print(table)
    table = Table("\nargument", "\ndefault", "\ndescription", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for a in arguments(function):
        table.add_row(flag(a), str(a.default), f"{a.help}  [dim]{metavar(a.type)}[/dim]")
    out.print(table)


def _table(text: str) -> "Table":
    """A Markdown table of a docstring as a rich table."""
    from rich.table import Table

    head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    table = Table(*head, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table
