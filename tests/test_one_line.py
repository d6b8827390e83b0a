"""Whatever is given, the answer is a result or one line: never a traceback, never work before the check."""

import builtins
import inspect
import os

import numpy as np
import pytest
import torch

import sparring
from sparring.cli import VERBS, find_verb, main, parser, sweep, toy, training
from sparring.comparing import compare
from sparring.data.check import preview
from sparring.errors import MOST, SparringError, abbreviated, printable, require_int
from sparring.options import TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, load_recipe, resolve_arguments
from sparring.run import Run

HUGE = "9" * 20
WORDS = (
    "~nosuchuser/x.png",
    "",
    " ",
    "\udcff",
    "x" * 5000,
    "a\0b",
    "²",
    "\x1b[2J",
    "forbidden/x.png",
    "[",
    "nowhere/x.zip",
)
NUMBERS = ("", "x", "-1", "0", "1.5", "²", "٣", "\udcff", HUGE, "nan", "inf", "-inf", "1e400")
NEVER = {HUGE, "nan", "inf", "-inf", "1e400"}
"""What no number of ours may be."""


class Reached(Exception):
    """Work would have begun."""


def reached(*args, **options):
    raise Reached


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run of a tiny recipe."""
    folder = tmp_path_factory.mktemp("one")
    np.save(folder / "toy.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8))
    options = {"size": 8, "batch": 8, "latent_dim": 4, "rounds": 1, "out": folder, "quiet": True}
    return sparring.train("csc321-mlp", folder / "toy.npy", **options).path


@pytest.fixture
def stubs(path, monkeypatch, tmp_path):
    """A machine on which what takes long is not done, and a folder "forbidden" cannot be looked into."""
    system, data = Run.open(path).system(), sparring.load(path.parent / "toy.npy")
    monkeypatch.setattr(Run, "system", lambda self, **options: system)
    monkeypatch.setattr(Run, "data", lambda self, *given, **options: data)
    for name in (
        "run_evaluation.evaluate",  # first: it is imported from evaluation
        *(
            "training.train",
            "training.resume",
            "evaluation.evaluate",
            "reporting.report",
            "sweeping.run_worker",
        ),
        *("latent.invert", "probing.probe", "bench.measuring.bench", "bench.race.time_to_fd"),
        *("toys.mixtures.play", "toys.line.play", "toys.xy.play", "toys.dirac.eigenvalues"),
        *("toys.saturation.play", "toys.distance.play", "toys.elbo.play", "toys.checkerboards.play"),
        *("latent.ablation", "latent.exciting_patches"),
    ):
        monkeypatch.setattr(f"sparring.{name}", reached)
    forbid(monkeypatch)
    monkeypatch.chdir(tmp_path)


def forbid(monkeypatch):
    """The tests may run as root, to whom nothing is forbidden."""

    def guarded(function):
        def guard(name, *args, **options):
            if "forbidden" in str(name):
                raise PermissionError(13, "Permission denied", name)
            return function(name, *args, **options)

        return guard

    for module, name in ((os, "stat"), (os, "lstat"), (os, "mkdir"), (os, "open"), (os, "scandir"), (builtins, "open")):
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))


PLACES = {"runs": (), "bench": (), "check-data": ("toy",), "compare": ("run", "run")}
"""Verb -> its paths, where they are not a run and perhaps images."""
NEEDED = {
    "arithmetic": {"start": "0", "minus": "1", "plus": "2"},
    "translate": {"to": "x", "out": "y"},
    "train": {"data": "toy"},
    "sweep": {"data": "toy", "space": "latent_dim=3|4", "rounds": "4"},
}
"""Verb -> flags that it must have."""


def flags_of(verb):
    """The words after `sparring` that choose a function, and its arguments."""
    if verb == "train":
        return ["train", "csc321-mlp"], [*arguments(training.OneSource), *arguments(TrainOptions)]
    if verb == "sweep":
        return ["sweep", "csc321-mlp"], arguments(sweep.sweep_options)
    return [verb], arguments(find_verb(verb))


CASES = [
    *((words, a) for words, listed in map(flags_of, VERBS) for a in listed),
    *((["toy", name], a) for name, function in toy.TOYS.items() for a in arguments(function)),
]


def number(argument):
    return parser.metavar(argument.type) in ("INT", "FLOAT")


def values_for(argument):
    """What is wrong for a flag of this kind; for some the right one of many, like a text for an output."""
    if isinstance(argument.default, bool):
        return ()
    return NUMBERS if number(argument) else WORDS


def asked(path, words, argument, value):
    places = {"run": str(path), "toy": str(path.parent / "toy.npy")}
    default = ("run", "toy") if words[0] in ("reconstruct", "classify", "translate", "invert") else ("run",)
    which = () if words[0] in ("train", "sweep", "toy") else PLACES.get(words[0], default)
    needed = {name: places.get(one, one) for name, one in NEEDED.get(words[0], {}).items()}
    given = {**needed, argument.name: value}
    flags = [word for name, one in given.items() for word in (f"--{name.replace('_', '-')}", one)]
    return [*words, *(places[one] for one in which), *flags]


def answer(capsys, argv):
    """None where work would have begun, "" for a result, or the one line."""
    code = 0
    try:
        main(argv)
    except Reached:
        return None
    except SystemExit as end:
        code = end.code
    finally:
        said = capsys.readouterr().err
    if code:
        assert code in (2, 4), (argv, code, said)
        assert said.startswith("sparring: "), (argv, said)
        assert said.count("\n") == 1, (argv, said)
        assert len(said) < 2500, argv
        assert printable(said, keep="\n\t") == said, argv
    return said if code else ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_takes_its_value_or_refuses_it_in_one_line(verb, path, stubs, capsys):
    for words, argument in (case for case in CASES if case[0][0] == verb):
        for value in values_for(argument):
            argv = asked(path, words, argument, value)
            try:
                said = answer(capsys, argv)
            except Exception as error:
                raise AssertionError(f"{argv} ends in {type(error).__name__}: {error}") from error
            if number(argument) and value in NEVER - ({HUGE} if parser.metavar(argument.type) == "FLOAT" else set()):
                assert said, f"{argv} is taken"


def test_the_parser_refuses_what_is_no_word_for_it(path, stubs, capsys):
    for value in dict.fromkeys([*WORDS, *NUMBERS, "--", "-", "-x", "--seed", "=", "--out="]):
        assert answer(capsys, ["sample", value]) != ""
        answer(capsys, ["sample", str(path), "--labels", value])
        assert answer(capsys, [value]) != "" or not value.strip("-")
        assert answer(capsys, ["help", value]) != ""
        assert answer(capsys, ["train", value]) != ""
        assert answer(capsys, ["recipes", value]) != ""
    assert answer(capsys, ["sample", str(path), "-n", str(10**12), "--out", "folder"])
    assert answer(capsys, ["directions", str(path), "-n", str(10**6)])


def test_every_argument_of_every_recipe_takes_its_value_or_refuses_it(monkeypatch):
    values = (*NUMBERS, *WORDS, None, -1, 0, 10**20, float("nan"), float("inf"), b"\xff", [], {}, object(), True)
    kinds, refusals = {}, []
    for function in (load_recipe(name, RECIPES) for name in RECIPES):
        kinds |= {(a.name, str(a.type)): (function, a) for a in arguments(function)}
    for function, argument in kinds.values():
        monkeypatch.setattr("sparring.recipes.recipe.arguments", lambda function, only=argument: [only])
        for value in values:
            try:
                settled = resolve_arguments(function, {argument.name: value})[argument.name]
            except SparringError as error:
                refusals.append((argument.name, str(error)))
            else:
                assert not isinstance(settled, float) or np.isfinite(settled)
                assert not isinstance(settled, int) or abs(settled) <= MOST
    assert len(refusals) > len(kinds)
    assert all(name in line and "\n" not in line for name, line in refusals)


ANYTHING = (
    "~nosuchuser/x",
    {},
    *("", "x", "\udcff", "a\0b", "x" * 5000, "forbidden/x", "²", -1, 0, 3, 10**20, 2.5, True),
    *(float("nan"), float("inf"), b"\xff", [], (1, 2), object(), int, np.zeros((3, 3)), torch.zeros(2, 0)),
)


def calls(path, data, system, out):
    """Public functions with arguments that are right, and the names of those that take anything."""
    toy = path.parent / "toy.npy"
    loading = ("source", "size", "channels", "classes", "root", "held_out")
    yield sparring.load, {"source": data.images, "size": 8}, loading
    small = {"recipe": "csc321-mlp", "data": data, "rounds": 1, "out": out, "quiet": True, "batch": 8, "latent_dim": 4}
    wishes = ("size", "channels", "classes", "data_root")
    rest = [
        a for a in inspect.signature(sparring.train).parameters if a not in ("arguments", *wishes, "monitor", "quiet")
    ]
    yield sparring.train, small, (*rest, "latent_dim", "batch", "game", "nonsense")
    yield sparring.train, {**small, "data": toy}, wishes
    yield sparring.resume, {"run": path, "quiet": True}, ("run", "rounds", "data", "recipe", "device", "threads")
    yield sparring.open, {"path": path}, ("path",)
    yield sparring.check, {"source": toy}, ("source",)
    yield system.sample, {"n": 3}, ("n", "seed", "truncation")
    measured = [a for a in inspect.signature(sparring.evaluate).parameters if a not in ("system", "data")]
    yield sparring.evaluate, {"system": system, "data": data, "n": 6, "repeats": 1}, ("system", "data", *measured)
    yield sparring.report, {"run": path}, ("run", "data", "recipe", "device")
    yield Run.open(path).system, {}, ("recipe", "checkpoint", "device")
    yield compare, {"runs": [path, path]}, ("runs",)
    yield preview, {"source": toy, "size": 8}, ("source", "size", "channels", "labels_from", "root", "cache", "count")
    labels, parts = torch.zeros(len(data), dtype=torch.long), data.hold_out(0.5)
    made = {"name": "toy", "pixels": data.images, "labels": labels, "classes": ("a",), "held_out": parts}
    yield sparring.Dataset, made, [*inspect.signature(sparring.Dataset).parameters]
    known = sparring.Dataset(**made)
    for method in (known.rows, known.of_class, known.hold_out, known.repeated):
        yield method, {}, [*inspect.signature(method).parameters]
    yield known.labeled_subset, {"count": 5, "seed": 0}, ("count",)


def test_every_public_function_answers_or_raises_one_line(path, monkeypatch, tmp_path):
    data, system = sparring.load(path.parent / "toy.npy"), Run.open(path).system()
    monkeypatch.setattr("sparring.training.Training.play", lambda training: training.run)
    monkeypatch.setattr("sparring.training._create_run", reached)
    monkeypatch.setattr("sparring.evaluation.measure", reached)
    forbid(monkeypatch)
    monkeypatch.chdir(tmp_path)
    wrong = []
    for function, right, names in calls(path, data, system, tmp_path / "runs"):
        for name in names:
            for value in ANYTHING:
                try:
                    function(**{**right, name: value})
                except (SparringError, Reached) as error:
                    wrong += [str(error)] if "\n" in str(error) else []
                except Exception as error:
                    wrong.append(f"{function.__name__}({name}={abbreviated(value)}): {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_whole_numbers():
    assert require_int("n", np.int64(3)) == 3
    for value in (0, -1, 2**63, True, 1.0, "3", None, float("nan"), 10**5000):
        with pytest.raises(SparringError, match=r"^n is .*: it must be .*at least 1$"):
            require_int("n", value)
    with pytest.raises(SparringError, match=r"^n is 9: it must be from 2 to 8$"):
        require_int("n", 9, 2, 8)
