"""The first paragraph of the report."""

from __future__ import annotations

from sparring.errors import plural
from sparring.reporting.page import Page
from sparring.run import Run


def summary(page: Page) -> str:
    """One paragraph: data, rounds, duration, and how the main metric changed."""
    config, log, distances, errors = page.run.config, page.log, page.distances("FD"), page.errors
    played = log[-1]["round"] if log else 0
    length = f" in {duration}" if (duration := _duration(page.run)) else ""
    text = (
        f"{config['recipe']}, trained on {plural(config['data']['count'], 'image')} of “{config['data']['name']}” with "
        f"batch size {config['batch']} for {played:,} of {plural(config['rounds'], 'round')}{length}."
    )
    if len(distances) > 1:
        first, last = distances[0], distances[-1]
        text += (
            f" The distance to real images ({last['name']}) went from {first['value']:,.0f} to {last['value']:,.1f}; "
            f"the floor, between two sets of real images, is {last['floor']:,.1f}."
        )
    if errors:
        last = errors[-1]
        clusters = last["metric"] == "clustering error"
        wrong = "assigned to a cluster of another class" if clusters else "misclassified"
        text += f" {100 * last['value']:.2f} % of {plural(last['n'], 'held-out image')} are {wrong}."
    players = {move["player"] for line in log for move in line["moves"]}
    # Losses of opponents are not informative.
    if not distances and not errors and len(players) == 1 and len(log) > 1:
        first, last = (line["moves"][0]["loss"] for line in (log[0], log[-1]))
        text += f" The loss on a batch went from {first:.4g} in round {log[0]['round']:,} to {last:.4g}."
    return text


def _duration(run: Run) -> str:
    """Total duration of all sessions (the clock restarts at every resume), as text; "" if unknown."""
    total = previous = 0.0
    for line in run.lines("timing"):
        total += line["seconds"] - (previous if line["seconds"] > previous else 0.0)
        previous = line["seconds"]
    if not total:
        return ""
    return f"{total:.1f} s" if total < 60 else f"{int(total) // 60} min {int(total) % 60:02d} s"
