"""The best checkpoint: chosen by one half of what is held out, measured by the other, marked in the report."""

import json
import re

import pytest
import torch
from safetensors import safe_open

from sparring.cli import main
from sparring.errors import SparringError
from sparring.evaluation import evaluate
from sparring.reporting import report
from sparring.run import Run
from sparring.training import resume, train


@pytest.fixture(scope="module")
def run(toy_file, tmp_path_factory):
    """KID is measured in rounds 0, 5, ... 30."""
    out = tmp_path_factory.mktemp("runs")
    return train("csc321-mlp", toy_file, size=8, rounds=30, eval_every=5, batch=16, latent_dim=8, out=out, quiet=True)


def round_of(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["sparring"])["round"]


def test_the_best_round_is_that_of_the_smallest_kid(run):
    lines = [line for line in run.read("metrics") if line["metric"] == "KID"]
    assert [line["round"] for line in lines] == list(range(0, 31, 5))
    assert run.best() == min(lines, key=lambda line: line["value"])
    assert all(line["value"] != line["held_out_b"] for line in lines)
    assert round_of(run.path / "best" / "model.safetensors") == run.best()["round"]


def test_its_weights_are_those_of_that_round(run, toy_file, tmp_path):
    best = run.best()["round"]
    options = {"eval_every": 5, "batch": 16, "latent_dim": 8, "size": 8, "quiet": True, "out": tmp_path}
    stopped = train("csc321-mlp", toy_file, rounds=max(best, 1), **options)
    there, here = stopped.system().state_dict(), run.system(checkpoint="best").state_dict()
    if best:
        assert all(torch.equal(there[name], here[name]) for name in there)
    last = run.system().state_dict()
    assert best == 30 or not all(torch.equal(here[name], last[name]) for name in last)
    # Going on from there, the choice is the same as without the stop.
    assert resume(stopped.path, rounds=30, quiet=True).best() == run.best()
    assert round_of(stopped.path / "best" / "model.safetensors") == best


def test_what_it_is_worth_is_said_by_the_other_half(run, capsys):
    main(["evaluate", str(run.path), "--checkpoint", "best", "--n", "20", "--json"])
    told = json.loads(capsys.readouterr().out)
    kept = run.evaluation()
    assert told == kept
    assert kept["checkpoint"] == "best"
    assert {card["split"] for card in kept["metrics"] if card["section"] == "samples"} == {"held_out_b"}
    system = run.system(checkpoint="best")
    again = evaluate(system, run.data(), n=20, split="held_out_b", averaged=bool(system.ema_networks))
    assert again["KID"].value == pytest.approx(next(c["value"] for c in kept["metrics"] if c["metric"] == "KID"))


def test_the_report_marks_it(run):
    main(["evaluate", str(run.path), "--checkpoint", "best", "--n", "20"])
    page = report(run).read_text()
    best = run.best()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert f"best: round {best['round']}" in words
    assert f"round {best['round']}, {best['value']:.3g}" in words
    assert f"its KID is {best['held_out_b']:.3g}," in words
    assert "The weights are those of the best round." in words


def test_the_evaluation_is_shown_with_its_pictures(run):
    main(["evaluate", str(run.path), "--n", "20"])
    pictures = set(run.evaluation_pictures())
    assert {"far", "near", "closest", "spectrum"} <= pictures
    page = report(run).read_text()
    for words in ("Diagnosis", "Suggestion:", "Evidence:", "Worst samples:", "The ten closest pairs."):
        assert words in page
    assert "describes" not in page
    assert page.count('class="lamp') > 15
    # Those of an older evaluation do not stay.
    run.write_evaluation(run.evaluation(), {})
    assert run.evaluation_pictures() == {}
    assert "The ten closest pairs." not in report(run).read_text()


def test_an_evaluation_of_another_version_is_not_shown(run):
    kept = run.evaluation()
    run.write_evaluation({**kept, "format": 1}, {})
    assert "made by another version of sparring" in report(run).read_text()
    run.write_evaluation(kept, {})


def test_without_a_measurement_there_is_no_best(tmp_path):
    toy = torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    from sparring.data import Dataset

    bare = train("csc321-mlp", Dataset("toy", toy[:, None]), rounds=2, batch=16, latent_dim=8, out=tmp_path, quiet=True)
    assert Run.open(bare.path).best() is None
    with pytest.raises(SparringError, match="has no best checkpoint, as no KID was measured"):
        bare.system(checkpoint="best")


def test_judges_are_asked_for_by_name(run, capsys):
    main(["evaluate", str(run.path), "--extractor", "pixels-pca64", "--n", "20"])
    assert "FD-pixels-pca64@20" in capsys.readouterr().out
    for arguments, words in (
        (["--extractor", "lenet"], "unknown extractor 'lenet'"),
        (["--extractor", "inception"], "inception is never downloaded"),
        (["--extractor", "clip", "--weights", "nowhere.safetensors"], "cannot read nowhere.safetensors"),
        (["--weights", "w.safetensors"], "a weights file is only for inception, dinov2, clip"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", str(run.path), *arguments])
        assert words in capsys.readouterr().err
