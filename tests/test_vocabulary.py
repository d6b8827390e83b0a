"""The words that users meet: flags, help, logged names, exported names and the README use the field's terms."""

import re
from pathlib import Path

import pytest

import sparring
from sparring import evaluation, latent, metrics
from sparring.cli import VERBS, find_verb, overview
from sparring.cli.parser import flag
from sparring.monitor import CAUSES
from sparring.numbers import NUMBERS
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, load_recipe

BANNED = re.compile(
    r"\b(told|judges?|judging|twins?|ills|marr(y|ies)|codes? (say|says)|deaf|lookers?)\b"
    r"|(optim|regular|normal|initial|memor|penal)is(?=e|ing|at)|neighbour|labell|colour|behaviour|centre|\bgrey",
    re.IGNORECASE,
)
"""Words of an earlier vocabulary, and British spelling."""

README = Path(__file__).parents[1] / "README.md"


def banned(text: str) -> list[str]:
    return [match[0] for match in BANNED.finditer(text)]


def test_the_pattern_finds_what_it_is_for():
    assert banned("the judge is told of labelled twins, and optimises") == [
        "judge",
        "told",
        "labell",
        "twins",
        "optimis",
    ]
    assert banned("the discriminator sees labeled near-duplicates; an optimistic optimizer in gray") == []


@pytest.mark.parametrize("name", RECIPES)
def test_flags_and_help_of_recipes(name):
    function = load_recipe(name, RECIPES)
    words = [name, *(f"{flag(a)} {a.help}" for a in arguments(function))]
    assert banned(" ".join(words)) == []


@pytest.mark.parametrize("name", VERBS)
def test_flags_and_help_of_commands(name):
    verb = find_verb(name)
    summary = [VERBS[name].summary, VERBS[name].example]
    words = [name, *summary, verb.__doc__ or "", *(f"{flag(a)} {a.help}" for a in arguments(verb))]
    assert banned(" ".join(words)) == []


def test_overview_and_readme():
    assert banned(overview()) == []
    assert banned(README.read_text()) == []


def test_exported_and_logged_names():
    names = [*sparring.__all__, *evaluation.__all__, *latent.__all__, *metrics.__all__]
    assert banned(" ".join([*names, *NUMBERS, *NUMBERS.values(), *CAUSES])) == []
