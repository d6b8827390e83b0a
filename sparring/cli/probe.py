"""The verb `probe`: linear-probe accuracy of the learned features."""

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
        int | None, Field(ge=2, description="labeled images to fit on, equally many per class (default: all)")
    ] = None,
    repeats: Annotated[
        int, Field(ge=1, le=1000, description="random choices of these images; the spread is over them")
    ] = 10,
    supervised: Annotated[
        bool, Field(description="also train the discriminator's network from scratch on the same labels")
    ] = False,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a built-in data set")] = None,
    seed: Annotated[int, Field(ge=0, description="seed of the choices and of random weights")] = 0,
    json: Annotated[bool, Field(description="print JSON")] = False,
    recipe: RecipeName = None,
) -> None:
    """Measure the accuracy of linear classifiers on the learned features."""
    from rich.console import Console
    from rich.table import Table

    from sparring.data.loading import load
    from sparring.latent.features import available_features, pixels
    from sparring.latent.probe import n_fits, n_networks, protocol, svm
    from sparring.latent.probe import probe as fit_probe
    from sparring.latent.probe import supervised as train_supervised
    from sparring.progress import Progress
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    spec = opened.spec
    dataset = opened.data() if data is None else load(data, size=spec.size, channels=spec.channels, root=data_root)
    plan = protocol(dataset, labels=labels, draws=repeats, seed=seed)
    svm()
    unlabeled = plan.validation.images  # of all classes: folders are ordered by class
    features: dict[str, Features] = {}
    random = available_features(_untrained_system(opened, seed, recipe), unlabeled)
    for name, learned in available_features(system, unlabeled).items():
        features |= {name: learned, f"{name}, random": random[name]}
    features["pixels"] = pixels
    if supervised and "discriminator" not in features:
        raise SparringError(f"{type(system).__name__} has no convolutional discriminator: drop --supervised")
    steps = len(features) * n_fits(plan) + supervised * n_networks(plan)
    with Progress("", steps) as progress:
        rows = []
        for name, extract in features.items():
            progress.advance(0, name)
            rows.append(fit_probe(name, extract, plan, on_progress=progress.advance))
        if supervised:
            progress.advance(0, "supervised network")
            rows.append(
                train_supervised(lambda i: _untrained_system(opened, i, recipe), plan, on_progress=progress.advance)
            )

    if json:
        return print(dumps(_as_dict(rows, plan, dataset.name), indent=1))
    n = len(plan.asked[0])
    split = "test" if dataset.test else "held-out"
    print(f"{n:,} labels, {len(plan.asked)} repeats; {len(plan.exam):,} {split} images of {dataset.name}")
    table = Table("features", "dimension", "accuracy", "1-NN", "C or lr", box=None, header_style="bold")
    for row in rows:
        spread = f" ± {100 * row.spread:.2f}" if len(row.right) > 1 else ""
        near = f"{100 * sum(row.neighbor) / len(row.neighbor):.2f} %" if row.neighbor else ""
        edge = " (edge)" if row.edge else ""
        table.add_row(row.name, f"{row.numbers:,}", f"{100 * row.mean:.2f}{spread} %", near, f"{row.chosen:g}{edge}")
    Console(highlight=False, markup=False).print(table)
    print("random: the same network with random weights, untrained")


def _untrained_system(run: "Run", seed: int, recipe: str | None) -> "System":
    """The run's system with new random weights."""
    from sparring.recipes.recipe import build_recipe
    from sparring.run import resolved_recipe
    from sparring.seeds import derive_seed, isolated

    function, resolved = resolved_recipe(run.config, recipe)
    with isolated(derive_seed("probe", "random weights", seed)):
        untrained = build_recipe(function, run.spec, resolved)
    return untrained.system.eval()


def _as_dict(rows: "list[ProbeResult]", plan: "ProbeSplit", data: str) -> dict:
    config = {"data": data, "labels": len(plan.asked[0]), "draws": len(plan.asked), "n": len(plan.exam)}
    keys = ("name", "numbers", "mean", "spread", "right", "neighbor", "chosen", "edge", "validation")
    return {**config, "features": [{key: getattr(row, key) for key in keys} for row in rows]}
