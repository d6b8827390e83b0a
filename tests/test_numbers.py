"""Players and logged numbers of the systems are those of the tables that report and monitor refer to."""

import ast
import re
from pathlib import Path

import pytest
import torch
from helpers import shipped_systems

import sparring
from sparring.monitor.observer import FIRST_SPACING, OBSERVED, PER_PLAYER
from sparring.monitor.rules import RULES, History, evidence
from sparring.numbers import NUMBERS, PLAYERS
from sparring.plots import OWN_PLOT
from sparring.progress import HEADINGS
from sparring.system import Move


def logged_numbers(function):
    """Names of the numbers of all moves in a function, also of those in a dictionary: Move(player, loss, **terms)."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Move":
            names |= {keyword.arg for keyword in node.keywords}
    if None in names:
        keys = [key for node in ast.walk(function) if isinstance(node, ast.Dict) for key in node.keys]
        names |= {key.value for key in keys if isinstance(key, ast.Constant)}
    return names - {None}


def test_every_number_that_a_system_logs_is_explained_and_no_other():
    names = {"loss", "gradient"}  # logged by the referee
    for file in (Path(sparring.__file__).parent / "systems").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                names |= logged_numbers(node)
    assert names == set(NUMBERS)
    assert {"cycle", "identity"} <= names  # those in a dictionary, too


def test_every_player_of_a_system_is_in_the_table_and_no_other():
    assert {player for kind in shipped_systems() for player in kind.players} == set(PLAYERS)


def test_plots_and_terminal_use_names_of_the_table():
    assert set(NUMBERS) >= OWN_PLOT
    assert set(HEADINGS) <= set(NUMBERS)


def test_a_move_refuses_an_unknown_number():
    with pytest.raises(ValueError, match=r"critic logs 'gradient_penalti'"):
        Move("critic", torch.zeros(()), gradient_penalti=1.0)


def test_outside_of_the_librarys_tests_a_move_takes_any_number(monkeypatch):
    monkeypatch.undo()
    assert Move("critic", torch.zeros(()), my_number=1.0).numbers["my_number"] == 1


def test_the_monitors_page_lists_the_numbers_with_their_meanings():
    page = (Path(__file__).parents[1] / "docs" / "monitor.md").read_text()
    section = page.partition("## Observations")[2].partition("**When it reports.**")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.M))
    assert listed == OBSERVED
    assert all(f"`PLAYER.{name}`" in section or f"`.{name}`" in section for name in PER_PLAYER)


def rows(**numbers):
    return [{"round": FIRST_SPACING * i, **numbers} for i in range(1, 40)]


@pytest.mark.parametrize("name", ["distanc", "critic.gradient_penalti", "critik.loss", "discriminator.twins"])
def test_rules_cannot_ask_for_a_number_that_no_row_has(name):
    history = History(rows(distance=1.0), {}, 1000, 1000)
    for ask in (history.of, history.now, history.half, history.lately, history.pooled, history.has):
        with pytest.raises(KeyError):
            ask(name)


def test_rules_ask_only_for_known_names():
    numbers = {name: 0.5 for name in OBSERVED}
    numbers |= {
        f"{player}.{name}": 0.5 for player in PLAYERS for name in (*PER_PLAYER, "loss", "kl", "gradient_penalty")
    }
    history = History(rows(**numbers), dict.fromkeys(PLAYERS, 1.0), 1000, 1000)
    for rule in RULES:
        rule.value(history)
    evidence(history)


def test_players_of_a_users_system_are_known_to_its_own_history():
    history = History(rows(**{"painter.step": 0.1, "painter.loss": 1.0}), {"painter": 1.0}, 1000, 1000)
    assert history.below("painter") == 0
    with pytest.raises(KeyError):
        history.now("sculptor.loss")
