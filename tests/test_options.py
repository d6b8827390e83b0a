"""The options of a training are one table, for Python and the command line."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from helpers import one_line

import sparring
from sparring.errors import SparringError
from sparring.options import TrainOptions
from sparring.recipes.recipe import arguments, resolve_arguments


def test_train_takes_the_options_and_their_defaults():
    parameters = inspect.signature(sparring.train).parameters
    options = {a.name: a.default for a in arguments(TrainOptions)}
    own = [p.name for p in parameters.values() if p.name not in ("recipe", "data", "quiet", "arguments")]
    assert own == list(options)
    assert {name: parameters[name].default for name in own} == options | {"out": "runs"}


def test_every_option_has_a_description():
    assert all(a.help for a in arguments(TrainOptions))


def test_text_is_converted_and_checked():
    values = {"rounds": "20", "held_out": "500", "channels": "1", "data_root": "there", "labels_from": "none"}
    options = TrainOptions(**resolve_arguments(TrainOptions, values))
    assert (options.rounds, options.held_out, options.channels, str(options.data_root)) == (20, 500, 1, "there")
    assert options == TrainOptions(rounds=20, held_out=500, channels=1, data_root="there", labels_from="none")
    for text, value in {"0.2": 0.2, "50000:55000": "50000:55000"}.items():
        assert resolve_arguments(TrainOptions, {"held_out": text})["held_out"] == value
    for name, value in {
        "rounds": "0",
        "precision": "fp16",
        "held_out": "-1",
        "threads": "5000",
        "channels": "2",
    }.items():
        one_line(lambda name=name, value=value: resolve_arguments(TrainOptions, {name: value}), f"{name} (--")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, (0, -1, 2.5, True, "3")) for name in ("rounds", "size", "sample_every", "eval_every", "threads")),
        *((name, (0, None, 2**63)) for name in ("grad_accum", "log_every", "save_every")),
        ("threads", (1025,)),
        ("seed", (-1, None)),
        ("precision", ("fp16", None, np.zeros(3))),
        ("held_out", ("x", None, "3:", "1:2\n")),
        ("data_root", (3, "a\0b")),
        ("out", (None, "a\0b", "\udcff")),
    ],
)
def test_wrong_values_are_refused(name, values):
    for value in values:
        one_line(lambda value=value: TrainOptions(**{name: value}), f"{name} is ")


def test_integers_of_numpy_and_text_paths_become_plain_values():
    options = TrainOptions(rounds=np.int64(3), out="there")
    assert type(options.rounds) is int
    assert options.out == Path("there")


def test_intervals():
    assert TrainOptions().every(400) == {"log": 10, "sample": 10, "eval": 40, "save": 500}
    assert TrainOptions().every(3) == {"log": 10, "sample": 1, "eval": 1, "save": 500}
    assert TrainOptions().early == ["sample", "eval"]
    given = TrainOptions(sample_every=7)
    assert given.every(400)["sample"] == 7
    assert given.early == ["eval"]


def test_options_of_loading_do_not_apply_to_a_dataset(tmp_path):
    data = sparring.load(np.zeros((20, 28, 28), np.uint8))
    for given in ({"size": 28}, {"held_out": 0.2}, {"labels_from": "none"}, {"classes": np.zeros(3)}):
        with pytest.raises(SparringError, match="do not apply to a Dataset"):
            sparring.train("raschka-mlp", data, out=tmp_path, **given)
