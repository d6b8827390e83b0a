"""A run as one self-contained HTML page: no scripts, and no fonts or images from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparring.data.dataset import Dataset
from sparring.reporting.page import Page
from sparring.reporting.sections import SECTIONS
from sparring.reporting.summary import summary
from sparring.run import Run
from sparring.seeds import standard_defaults
from sparring.templates import render

NEEDS_DATA = {
    "score": "score histogram",
    "sample": "nearest training images",
    "reconstruct": "reconstructions",
    "encode": "latent codes",
    "kl": "latent units",
    "classify": "classes",
    "cluster": "clusters",
    "translate": "translations",
}
"""Capability -> what the report shows of it, which needs images."""


@standard_defaults()
def report(
    run: Run | Path | str,
    *,
    data: Dataset | str | Path | Mapping[str, str | Path] | None = None,
    recipe: str | None = None,
    device: str = "auto",
) -> Path:
    """Write RUN/report.html from the files of the run, and return its path.

    data    the run's data, as in `training.resume`; without data, sections that need images are omitted
    recipe  required for a recipe that is not built in ("module:function")
    device  as in `Run.system`

    Raises SparringError if the run has no weights or is damaged, and if `data` are not the data it was trained on.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    run.require_writable()
    page = Page.of(run, data, recipe, device)
    html = render(
        "report.html.j2",
        title=run.path.name,
        paper=run.config["paper"],
        summary=summary(page),
        missing=page.missing,
        omitted=[name for capability, name in NEEDS_DATA.items() if page.system.supports(capability)],
        sections=[content for section in SECTIONS if (content := section(page))],
    )
    return run.write_report(html)
