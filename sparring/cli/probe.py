"""The verb that asks how much of the classes is in what a run has learned."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.latent.features import Features
    from sparring.latent.probe import ProbeResult, ProbeSplit
    from sparring.run import Run
    from sparring.system import System


def probe(
    run: RunPath,
    *,
    data: Annotated[
        str | None, Field(description="labeled images: a name, a folder or zip (default: the run's own data)")
    ] = None,
    labels: Annotated[
        int | None, Field(ge=2, description="labeled images to learn from, as many of each class (default: all)")
    ] = None,
    draws: Annotated[int, Field(ge=1, le=1000, description="times these are drawn anew; the spread is over them")] = 10,
    supervised: Annotated[
        bool, Field(description="also train the discriminator's layers from new weights on the same labels")
    ] = False,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a named data set")] = None,
    seed: Annotated[int, Field(ge=0, description="of the draws and of random weights")] = 0,
    json: Annotated[bool, Field(description="as JSON")] = False,
    recipe: RecipeName = None,
) -> None:
    """a linear SVM on what a run has learned:  sparring probe RUN --data mnist --labels 1000"""
    from rich.console import Console
    from rich.table import Table

    from sparring.data.loading import load
    from sparring.latent.features import available_features, pixels
    from sparring.latent.probe import n_fits, n_networks, protocol, svm
    from sparring.latent.probe import probe as probed
    from sparring.latent.probe import supervised as from_labels
    from sparring.progress import Progress
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    spec = opened.config["spec"]
    asked = opened.data() if data is None else load(data, size=spec["size"], channels=spec["channels"], root=data_root)
    plan = protocol(asked, labels=labels, draws=draws, seed=seed)
    svm()
    unlabeled = plan.validation.images  # of all classes: folders come class by class
    every: dict[str, Features] = {}
    random = available_features(_fresh(opened, seed, recipe), unlabeled)
    for name, features in available_features(system, unlabeled).items():
        every |= {name: features, f"{name}, random": random[name]}
    every["pixels"] = pixels
    if supervised and "discriminator" not in every:
        raise SparringError(f"--supervised: {type(system).__name__} has no convolutional discriminator to train anew")
    steps = len(every) * n_fits(plan) + supervised * n_networks(plan)
    with Progress("", steps) as progress:
        rows = []
        for name, features in every.items():
            progress.advance(0, name)
            rows.append(probed(name, features, plan, told=progress.advance))
        if supervised:
            progress.advance(0, "supervised network")
            rows.append(from_labels(lambda i: _fresh(opened, i, recipe), plan, told=progress.advance))

    if json:
        return print(dumps(_numbers(rows, plan, asked.name), indent=1))
    n = len(plan.asked[0])
    split = "test" if asked.test else "held-out"
    print(f"{n:,} labels, {len(plan.asked)} draws; {len(plan.exam):,} {split} images of {asked.name}")
    table = Table("features", "numbers", "right", "1-NN", "C or rate", box=None, header_style="bold")
    for row in rows:
        spread = f" ± {100 * row.spread:.2f}" if len(row.right) > 1 else ""
        near = f"{100 * sum(row.neighbor) / len(row.neighbor):.2f} %" if row.neighbor else ""
        edge = " (edge)" if row.edge else ""
        table.add_row(row.name, f"{row.numbers:,}", f"{100 * row.mean:.2f}{spread} %", near, f"{row.chosen:g}{edge}")
    Console(highlight=False, markup=False).print(table)
    print("random: the same network, never trained")


def _fresh(run: "Run", seed: int, recipe: str | None) -> "System":
    """The run's system with new random weights."""
    from sparring.recipes.recipe import build_recipe
    from sparring.run import resolved_recipe, spec_of
    from sparring.seeds import derive_seed, isolated

    function, settled = resolved_recipe(run.config, recipe)
    with isolated(derive_seed("probe", "random weights", seed)):
        made = build_recipe(function, spec_of(run.config), settled)
    return made.system.eval()


def _numbers(rows: "list[ProbeResult]", plan: "ProbeSplit", data: str) -> dict:
    config = {"data": data, "labels": len(plan.asked[0]), "draws": len(plan.asked), "n": len(plan.exam)}
    keys = ("name", "numbers", "mean", "spread", "right", "neighbor", "chosen", "edge", "validation")
    return {**config, "features": [{key: getattr(row, key) for key in keys} for row in rows]}
