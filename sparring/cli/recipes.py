"""The verb `recipes`: what can be trained."""

import inspect
from collections.abc import Mapping
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.parser import metavar
from sparring.recipes import RECIPES
from sparring.recipes.recipe import RecipeFunction, arguments, info, load_recipe, resolve_arguments

if TYPE_CHECKING:
    from rich.table import Table


def recipes(
    name: Annotated[str | None, Field(description="a recipe to be shown in detail")] = None,
    *,
    json: Annotated[bool, Field(description="print JSON")] = False,
) -> None:
    """List all recipes, or show the paper, networks and arguments of one."""
    if name is not None:
        config = _describe(name)
        return print(dumps(config, indent=1)) if json else _show(name, config)
    functions = {name: load_recipe(name, RECIPES) for name in RECIPES}
    if json:
        summaries = {name: {"paper": info(f).paper, "about": _first_line(f)} for name, f in functions.items()}
        return print(dumps(summaries, indent=1))

    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "description", "source", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, function in functions.items():
        table.add_row(name, _first_line(function), info(function).paper)
    Console().print(table)
    print("\nDetails of one recipe: sparring recipes NAME")


def _first_line(function: RecipeFunction) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


def _describe(name: str) -> dict[str, Any]:
    """The recipe's metadata, networks and arguments for images of its default size, as JSON values."""
    function = load_recipe(name, RECIPES)

    import torch

    from sparring.recipes.recipe import build_recipe

    spec = info(function).spec()
    with torch.device("meta"):
        built = build_recipe(function, spec, resolve_arguments(function, {}))
    return {
        "name": name,
        "paper": info(function).paper,
        "about": inspect.getdoc(function),
        "data": {"channels": spec.channels, "height": spec.height, "width": spec.width},
        "rounds": built.rounds,
        "batch": built.batch,
        "system": type(built.system).__name__,
        "players": {player: list(networks) for player, networks in built.system.players.items()},
        "networks": {n: sum(p.numel() for p in net.parameters()) for n, net in built.system.named_children()},
        "arguments": [
            {"name": a.name, "type": metavar(a.type), "default": a.default, "help": a.help} for a in arguments(function)
        ],
    }


def _show(name: str, config: Mapping[str, Any]) -> None:
    """Print the result of `_describe`."""
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    out.print(f"[bold]{name}[/bold]   {config['paper']}", end="\n\n")
    for paragraph in str(config["about"]).split("\n\n"):
        if paragraph.startswith("|"):
            out.print(_table(paragraph), "")
        else:
            out.print(" ".join(paragraph.split()), end="\n\n")  # rich wraps the lines
    shape = "x".join(str(side) for side in config["data"].values())
    out.print(f"Rounds {config['rounds']}, batch {config['batch']}; parameter counts for {shape} images.\n")
    if shorter := info(load_recipe(name, RECIPES)).measured:
        flags = f"{shorter.options} --rounds {shorter.rounds}".strip()
        result = f"{flags}, {shorter.minutes:g} minutes: {shorter.result}"
        out.print(f"Shorter run on {shorter.data}: {result}.\n", markup=False)
    table = Table("player", "network", "parameters", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for player, networks in config["players"].items():
        for network in networks:
            table.add_row(player, network, str(config["networks"][network]))
    out.print(table)
    table = Table("\nargument", "\ndefault", "\ndescription", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for a in config["arguments"]:
        table.add_row(f"--{a['name'].replace('_', '-')}", str(a["default"]), f"{a['help']}  [dim]{a['type']}[/dim]")
    out.print(table)


def _table(text: str) -> "Table":
    """A Markdown table of a docstring as a rich table."""
    from rich.table import Table

    head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    table = Table(*head, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table
