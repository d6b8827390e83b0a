"""The result of an evaluation, as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape as html
from typing import Any

from PIL.Image import Image
from rich import box
from rich.table import Table

from sparring.diagnose import Diagnosis, diagnose
from sparring.errors import plural, unknown_name_error
from sparring.evaluation.measurement import Cell, Measurement, Unit, format_number
from sparring.evaluation.panel import NO_DIFFERENCE
from sparring.metrics.classes import ClassShare

FORMAT = 4
"""Version of the format of `Evaluation.as_dict`."""

TERMINAL_COLORS = {"green": "green", "amber": "yellow", "red": "red", "gray": "bright_black"}
HTML_COLORS = {"green": "#3c9a5f", "amber": "#e3b23c", "red": "#c23b3b", "gray": "#b9c0cc"}
LAMP = '<span style="color: {}">●</span> '


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All numbers of one evaluation.

    data          name of the dataset
    fingerprint   of its training images
    n, repeats    images per repeat, number of repeats
    measurements  the numbers, in the order of `METRICS`
    classes       shares of the classes over all repeats; () if the extractor cannot classify the data
    sampling      arguments of `sample` other than number and seed
    units         one entry per unit of the latent code, if the system has a KL divergence
    cells         regions of the feature space that are generated far too rarely or far too often
    averaged      whether EMA weights were measured; None if unknown
    seeds         the seeds of the samples
    range         pixel values of samples, before clipping, and of real images; {} if nothing was sampled
    system        properties of the system: see `splits.facts_of`
    notes         sentences on what could not be measured, and why
    pictures      name -> image that illustrates a metric: see `pictures.pictures`
    """

    data: str
    fingerprint: str
    n: int
    repeats: int
    measurements: tuple[Measurement, ...] = ()
    classes: tuple[ClassShare, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    cells: tuple[Cell, ...] = ()
    averaged: bool | None = None
    seeds: tuple[int, ...] = ()
    range: Mapping[str, float] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, Image] = field(default_factory=dict, compare=False, repr=False)

    @property
    def panel(self) -> tuple[Measurement, ...]:
        """The metrics that compare samples with real images; () if the system cannot sample."""
        return tuple(one for one in self.measurements if one.section == "samples")

    @property
    def others(self) -> tuple[Measurement, ...]:
        """All measurements except those of the panel."""
        return tuple(one for one in self.measurements if one.section != "samples")

    def __getitem__(self, name: str) -> Measurement:
        """The measurement of that metric ("FD", "cycle error a to b to a") or full name ("FD-lenet-mnist@2000").

        Raises SparringError if there is none.
        """
        for measurement in self.measurements:
            if name in (measurement.key, measurement.name):
                return measurement
        raise unknown_name_error("metric", name, [measurement.key for measurement in self.measurements])

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """The faults that the numbers indicate, most certain first."""
        return diagnose(self._numbers())

    def as_dict(self) -> dict[str, Any]:
        """Lists, dictionaries, strings and numbers only, ready for JSON.

        format    version of this format
        metrics   one dictionary per measurement: `Measurement.as_dict`, with `averaged`, `seeds` and `fingerprint`
        findings  the diagnoses, most certain first: the fields of `Diagnosis`
        classes   of the samples: the fields of `ClassShare`
        cells     generated too rarely or too often: the fields of `Cell`
        units     of the latent code: the fields of `Unit`
        range, system, notes  as in this class
        """
        numbers = self._numbers()
        return {**numbers, "findings": [diagnosis.as_dict() for diagnosis in diagnose(numbers)]}

    def _numbers(self) -> dict[str, Any]:
        shared = {"averaged": self.averaged, "seeds": list(self.seeds), "fingerprint": self.fingerprint}
        return {
            "format": FORMAT,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "repeats": self.repeats,
            "sampling": dict(self.sampling),
            "range": dict(self.range),
            "system": dict(self.system),
            "notes": list(self.notes),
            "metrics": [{**measurement.as_dict(), **shared} for measurement in self.measurements],
            "classes": [row._asdict() for row in self.classes],
            "cells": [cell._asdict() for cell in self.cells],
            "units": [unit._asdict() for unit in self.units],
        }

    # For people.

    def __str__(self) -> str:
        """One line: the most important numbers and the diagnosis."""
        numbers = [
            f"{one.name} {format_number(one.value)} (real images {format_number(one.floor or 0)})"
            for one in self.panel[:1]
        ]
        numbers += [
            f"{one.name} {format_number(one.value)}" for one in self.panel if one.metric in ("precision", "recall")
        ]
        numbers += [f"{one.name} {format_number(one.value)}" for one in self.others[: 0 if numbers else 2]]
        causes = [diagnosis.cause for diagnosis in self.diagnoses]
        return f"{self.data}, n = {self.n:,}: {', '.join(numbers)}" + (f"; {', '.join(causes)}" if causes else "")

    def __repr__(self) -> str:
        return f"<Evaluation of {plural(len(self.measurements), 'number')} on {self}>"

    @property
    def title(self) -> str:
        """What was compared: data, samples and reference images."""
        if not self.panel:
            return f"{self.data}: {plural(self.n, 'image')}"
        split = self.panel[0].split.replace("_", "-")
        times = f"{self.repeats} times, " if self.repeats > 1 else ""
        title = f"{self.data}: {self.n:,} samples, {times}against {self.n:,} {split} images"
        return title + "".join(f", {name} {value}" for name, value in self.sampling.items())

    def _repr_html_(self) -> str:
        """For notebooks: the numbers as a table, then the diagnosis."""
        rows = ""
        for one in self.panel:
            lamp = LAMP.format(HTML_COLORS[one.light]) if one.light else ""
            interval = " to ".join(map(format_number, one.interval or ()))
            cells = (lamp + html(one.name), format_number(one.value), interval, _floor(one), html(one.words))
            rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        heads = "".join(f"<th>{head}</th>" for head in ("", "value", "95 % interval", "real images", "verdict"))
        lines = [*map(str, self.others), *self.notes, *map(str, self.diagnoses)]
        table = f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""
        return f"<p>{html(self.title)}</p>{table}{''.join(f'<p>{html(line)}</p>' for line in lines)}"

    def table(self) -> Table:
        """For the terminal: all metrics of samples with interval, floor and verdict."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("metric", no_wrap=True)
        for heading in ("value", "95 % interval", "real"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("verdict", overflow="fold")
        for one in self.panel:
            interval = " to ".join(map(format_number, one.interval)) if one.interval else "one repeat"
            lamp = f"[{TERMINAL_COLORS[one.light]}]●[/] " if one.light else "  "
            words = "as real images" if one.words == NO_DIFFERENCE else one.words.removesuffix(" real images")
            table.add_row(lamp + one.name, format_number(one.value), interval, _floor(one), words)
        return table

    def class_table(self) -> Table:
        """For the terminal: the share of each class; no rows if the extractor cannot classify the data."""
        table = Table("class", title="classes of the samples", title_justify="left")
        for heading in ("share", "95 % interval", "real images"):
            table.add_column(heading, justify="right")
        for row in self.classes:
            share, low, high, real = (f"{100 * x:.1f} %" for x in row[1:])
            table.add_row(row.name, share, f"{low} to {high}", real)
        return table


def _floor(measurement: Measurement) -> str:
    return "" if measurement.floor is None else format_number(measurement.floor)
