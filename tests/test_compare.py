"""Runs against each other: pairs, intervals, the probability of improvement, what is refused, and the page."""

import json
import re

import pytest
import torch

from sparring.cli import main
from sparring.comparing import compare, page, welch
from sparring.durable import Disk
from sparring.errors import SparringError
from sparring.evaluation import METRICS, Measurement
from sparring.evaluation.metrics import Metric
from sparring.evaluation.panel import complete
from sparring.evaluation.result import FORMAT
from sparring.image_grid import grid, png
from sparring.run import Run

CARD = {"n": 500, "split": "held_out", "extractor": "lenet-mnist", "digest": "aa" * 32}

FACTS = {
    **{"paper": "", "rounds": 100, "batch": 16, "grad_accum": 1, "precision": "float32", "early": [], "monitor": True},
    **{"equilibrium": {}, "schedule_ends": {}, "command": "", "sparring": "", "commit": None},
    "data": {"name": "toy", "source": None, "count": 9, "fingerprint": "ff" * 32},
    "spec": {"channels": 1, "height": 8, "width": 8, "classes": [], "modality": "images"},
    "every": dict.fromkeys(("log", "sample", "eval", "save"), 1),
    "machine": {"processor": "", "threads": 1, "processes": 1, "torch": ""},
}


def evaluation(fd, error=None, fingerprint="ff" * 32, more=(), **changes):
    values = {"FD": (fd, 3.0), "precision": (0.5 + fd / 1000, 0.9), "KL divergence": (1.0, None)}
    if error is not None:
        values["classification error"] = (error, None)
    numbers = [
        complete(Measurement(**CARD | changes, metric=name, value=value, floor=floor, by_extractor=name == "FD"))
        for name, (value, floor) in values.items()
    ]
    shared = {"averaged": True, "seeds": [], "fingerprint": fingerprint}
    nothing = {"notes": [], "classes": [], "cells": [], "units": [], "findings": [], "range": {}, "system": {}}
    return {
        **{"format": FORMAT, "data": "toy", "n": numbers[0].n, "repeats": 1, "sampling": {}},
        "metrics": [{**one, **shared} for one in (*(one.as_dict() for one in numbers), *more)],
        "fingerprint": fingerprint,
        **nothing,
    }


@pytest.fixture
def made(tmp_path):
    """make(recipe, seed, fd, **arguments) -> the directory of an evaluated run."""

    def make(recipe, seed, fd, *, error=None, evaluated=True, card=(), more=(), **arguments):
        config = {**FACTS, "recipe": recipe, "arguments": arguments, "seed": seed}
        run = Run.create(tmp_path, recipe, config, "", Disk())
        run.write_sample(100, png(grid(torch.zeros(4, 1, 8, 8), columns=2)))
        if evaluated:
            run.write_evaluation(evaluation(fd, error, more=more, **dict(card)), {})
        return run.path

    return make


def contrast(found, metric, group=None):
    return next(c for c in found.contrasts if c.metric.startswith(metric) and (group is None or c.group == group))


def test_pairs_take_out_what_a_seed_does_to_both(made):
    """Seeds move both methods by 100; the method moves each by 10, give or take 1."""
    runs = [made("a", s, 100.0 * s) for s in (1, 2, 3)]
    runs += [made("b", s, 100.0 * s - d) for s, d in ((3, 11.0), (1, 9.0), (2, 10.0))]
    fd = contrast(compare(runs), "FD")
    assert (fd.first, fd.other, fd.pairs) == (200.0, 190.0, 3)
    assert fd.difference == pytest.approx(-10)
    half = 4.3027 * 1 / 3**0.5  # Student's t for 2 degrees of freedom, standard deviation 1
    assert fd.interval == pytest.approx((-10 - half, -10 + half), abs=1e-3)
    assert (fd.wins, fd.probability, fd.words) == (3, 1.0, "better")
    assert fd.probability_interval == pytest.approx((0.438, 1.0), abs=1e-3)  # Wilson, 3 of 3


def test_better_is_nearer_to_real_images_or_as_the_number_says(made):
    runs = [made("a", s, 100.0, error=0.1) for s in (0, 1)] + [made("b", s, 50.0, error=0.2) for s in (0, 1)]
    found = compare(runs)
    assert contrast(found, "FD").better == "nearer to 3"
    assert contrast(found, "FD").probability == 1
    assert contrast(found, "precision").probability == 0  # .55 is farther from .9 than .6
    assert contrast(found, "classification").better == "lower"
    assert contrast(found, "classification").words == "worse"
    nowhere = contrast(found, "KL")
    assert (nowhere.better, nowhere.probability, nowhere.words) == ("", None, "no significant difference")


def test_a_new_row_of_the_table_is_compared(made, monkeypatch):
    row = Metric(name="brightness", function=len, needs="encode", meaning="mean gray level", better="lower")
    monkeypatch.setitem(METRICS, "brightness", row)
    new = [complete(Measurement(**CARD, metric="brightness", value=value)).as_dict() for value in (3.0, 2.0)]
    runs = [made("a", s, 1.0, more=new[:1]) for s in (0, 1)] + [made("b", s, 1.0, more=new[1:]) for s in (0, 1)]
    found = contrast(compare(runs), "brightness")
    assert (found.first, found.other, found.better, found.words) == (3, 2, "lower", "better")


def test_ties_count_half(made):
    runs = [made("a", s, 50.0) for s in (0, 1)] + [made("b", 0, 50.0), made("b", 1, 40.0)]
    fd = contrast(compare(runs), "FD")
    assert (fd.wins, fd.probability) == (1.5, 0.75)


def test_one_seed_a_side_proves_nothing(made):
    found = compare([made("a", 0, 100.0), made("b", 0, 1.0)])
    fd = contrast(found, "FD")
    assert (fd.interval, fd.words) == (None, "")
    found = compare([made("a", 0, 100.0), *(made(name, 0, 1.0) for name in "bcd")])
    (note,) = [note for note in found.notes if "compares two trainings, not two methods" in note]
    assert note.startswith("b, c, d vs. a: ")
    said = page(found) + "".join(map(str, found.notes)) + json.dumps(found.as_dict()["contrasts"])
    assert said.count("compares two trainings, not two methods") == 2  # in the notes, and in the page's


def test_without_common_seeds_it_is_welch(made):
    found = compare([made("a", s, fd) for s, fd in ((0, 10.0), (1, 14.0))] + [made("b", 7, 1.0), made("b", 8, 3.0)])
    fd = contrast(found, "FD")
    assert fd.pairs == 0
    assert fd.interval == pytest.approx(welch([10, 14], [1, 3]))
    assert fd.probability_interval is None
    assert any("no common seeds" in note for note in found.notes)


def test_welch_against_its_formula():
    """Variances 8 and 2 of 2 each: standard error sqrt(5), (4 + 1)^2 / (16 + 1) = 1.47 degrees of freedom, so 1."""
    low, high = welch([10, 14], [1, 3])
    assert (low + high) / 2 == -10
    assert (high - low) / 2 == pytest.approx(12.7062 * 5**0.5, rel=1e-4)


def test_a_seed_without_a_partner_is_left_out_and_named(made):
    found = compare([made("a", s, 10.0 + s) for s in (0, 1, 2)] + [made("b", s, 10.0 + s) for s in (0, 1)])
    assert contrast(found, "FD").pairs == 2
    assert any("unpaired seeds" in note and note.endswith(": 2") for note in found.notes)


def test_groups_are_named_by_what_sets_them_apart(made):
    runs = [made("a", s, 1.0, lr=0.1, width=4) for s in (0, 1)]
    runs += [made("a", s, 2.0, lr=0.2, width=4) for s in (0, 1)]
    runs += [made("b", 0, 3.0, lr=0.1)]
    assert [g.name for g in compare(runs).groups] == ["a --lr 0.1", "a --lr 0.2", "b"]


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({"extractor": "random-conv64"}, "FD-lenet-mnist@500 and FD-random-conv64@500 cannot"),
        ({"digest": "bb" * 32}, "the SHA-256 of the extractor's weights differs"),
        ({"n": 400}, "FD-lenet-mnist@500 and FD-lenet-mnist@400 cannot"),
        ({"split": "test"}, "the split differs"),
        ({"fingerprint": "00" * 32}, "the data differ"),
    ],
)
def test_unlike_cards_are_refused_with_the_reason(made, card, reason):
    with pytest.raises(SparringError, match=f"0001-a and .*0002-b: .*{reason}.*evaluate both in the same way"):
        compare([made("a", 0, 1.0), made("b", 0, 1.0, card=card)])


def test_what_cannot_be_compared_is_refused(made):
    with pytest.raises(SparringError, match=r"one was not evaluated; first: sparring evaluate \S*b$"):
        compare([made("a", 0, 1.0), made("b", 0, 1.0, evaluated=False)])
    todo = r"2 of them were not evaluated; first: sparring evaluate \S*c && sparring evaluate \S*d$"
    with pytest.raises(SparringError, match=todo):
        compare([made("a", 0, 1.0), *(made(name, 0, 1.0, evaluated=False) for name in "cd")])
    with pytest.raises(SparringError, match="belong to one method"):
        compare([made("a", 0, 1.0), made("a", 1, 1.0)])
    with pytest.raises(SparringError, match="is not a run"):
        compare([made("a", 0, 1.0), "nowhere"])


def test_the_page_is_self_contained_and_has_a_grid_for_every_run(made, tmp_path, capsys):
    runs = [made("a", s, 10.0 + s) for s in (0, 1)] + [made("<b>", s, 12.0 - s) for s in (0, 1)]
    out = tmp_path / "page.html"
    main(["compare", *map(str, runs), "--out", str(out)])
    html = out.read_text()
    assert len(re.findall(r'<img alt="Samples of [^"]*" src="data:image/png;base64,', html)) == 4
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert "<b>&lt;b&gt;</b>" in html
    assert "FD-lenet-mnist@500" in capsys.readouterr().out


def test_json_of_the_command_line(made, capsys):
    runs = [made("a", s, 10.0 + s) for s in (0, 1)] + [made("b", s, 12.0 + s) for s in (0, 1)]
    main(["compare", *map(str, runs), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["card"] == {"data": "toy", "n": 500, "split": "held_out", "sampling": {}}
    assert found["contrasts"][0]["difference"] == 2.0
    assert list(found["groups"][1]["runs"]) == ["0", "1"]
