"""The verb `toy`: small games with known solutions, as tables and animations."""

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from sparring.cli.common import require_place, write
from sparring.cli.parser import Command
from sparring.errors import SparringError, unknown_name_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparring.toys.line import State as LineState
    from sparring.toys.mixtures import State as PlaneState

    T = TypeVar("T", LineState, PlaneState)

Out = Annotated[Path | None, Field(description="also write an animated WebP")]
Picture = Annotated[Path | None, Field(description="also write a picture, as WebP")]
Json = Annotated[bool, Field(description="print JSON")]
Seed = Annotated[int, Field(ge=0, description="seed of all random numbers")]
Step = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False, description="step size of both players")]
Start = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False, description="initial value")]


def toy(name: str | None, argv: Sequence[str]) -> None:
    """Play a small game with a known solution; print a table, and write an animation if requested."""
    if name is None:
        return print(_overview())
    if name not in TOYS:
        raise unknown_name_error("toy", name, TOYS)
    command = Command.of(f"sparring toy {name}", TOYS[name], f"sparring toy {name} --out {name}.webp")
    values = command.parse(argv)
    if out := values.get("out"):
        if out.suffix.lower() != ".webp":
            raise SparringError(f"--out {out} must end in .webp")
        require_place(out)
    TOYS[name](**values)


def _overview() -> str:
    lines = ["usage: sparring toy NAME [options]", "", "Small games with known solutions.", ""]
    lines += [f"  {name:<13} {(inspect.getdoc(function) or '').splitlines()[0]}" for name, function in TOYS.items()]
    return "\n".join([*lines, "", "Help on one toy: sparring toy NAME --help"])


def xy(
    *,
    rule: Annotated[
        Literal["alternating", "simultaneous", "extragradient", "optimistic"],
        Field(description="update rule of the players"),
    ] = "alternating",
    first: Annotated[Literal["x", "y"], Field(description="the player that moves first (alternating only)")] = "y",
    step: Step = 1.0,
    rounds: Annotated[int, Field(ge=1, le=100_000, description="rounds to play")] = 6,
    x: Start = 1.0,
    y: Start = 1.0,
    json: Json = False,
    out: Out = None,
) -> None:
    """The game min over x, max over y of x y: iterates and conserved quantity.

    Alternating updates stay on an ellipse (step sizes below 2), simultaneous ones spiral outward; extragradient and
    optimistic updates converge, with step sizes below 1 and below .577: try --step .5 --rounds 30.
    """
    from sparring.toys import xy as game

    pairs = game.play(rule, first=first, step=step, rounds=rounds, start=(x, y))
    invariant = game.invariant(rule, pairs, first=first, step=step)
    growth = game.growth(rule, first=first, step=step)
    if json:
        config: dict[str, Any] = {"rule": rule, "first": first if rule == "alternating" else None, "step": step}
        print(_to_json({**config, "growth": growth, "pairs": pairs, "conserved": invariant}))
    else:
        columns = {"round": range(len(pairs)), "x": [p[0] for p in pairs], "y": [p[1] for p in pairs]}
        product = f"{'+' if first == 'y' else '-'} {'' if step == 1 else f'{step:g} '}xy"
        extra = {f"x² {product} + y²": invariant} if invariant else {"x² + y²": [a * a + b * b for a, b in pairs]}
        _table({**columns, **extra})
        print(f"\nEach round multiplies the distance by {growth:.4g} asymptotically: the path "
              f"{game.verdict(rule, first=first, step=step)}.")  # fmt: skip
    _animate(out, lambda: game.figures(rule, pairs, first=first, step=step))


def dirac(
    *,
    game: Annotated[
        Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"],
        Field(description="the pair of losses"),
    ] = "non-saturating",
    penalty: Annotated[
        Literal["none", "r1", "r2", "both", "between", "noise", "wgan-gp", "clip"],
        Field(description="regularization of the discriminator"),
    ] = "none",
    weight: Annotated[
        float,
        Field(
            gt=0, le=1000, description="gamma of R1, R2, both, between; lambda of WGAN-GP; noise's std; clip's bound"
        ),
    ] = 1.0,
    step: Step = 0.1,
    rounds: Annotated[int, Field(ge=1, le=100_000, description="rounds to play")] = 200,
    theta: Start = 1.0,
    psi: Start = 1.0,
    json: Json = False,
    out: Out = None,
) -> None:
    """The Dirac-GAN: one generated point, one discriminator weight; orbit and eigenvalues.

    Mescheder et al. 2018. Trains the library's own systems by gradient descent, discriminator first. Without a penalty
    theta and psi circle around (0, 0); zero-centered penalties and instance noise converge to it.
    """
    from sparring.toys import dirac as toy

    settings: dict[str, Any] = {"weight": weight, "step": step}
    values = toy.eigenvalues(game, penalty, **settings)
    flow = toy.eigenvalues(game, penalty, weight=weight)
    measured = toy.measured(game, penalty, **settings) if values else None
    orbit = toy.play(game, penalty, **settings, rounds=rounds, start=(theta, psi))
    verdict = toy.verdict(game, penalty, **settings)
    if json:
        named = {"eigenvalues": values, "measured": measured, "flow": flow}
        numbers = {name: value and [[v.real, v.imag] for v in value] for name, value in named.items()}
        print(_to_json({"game": game, "penalty": penalty, **settings, **numbers, "verdict": verdict, "orbit": orbit}))
    else:
        table_rounds = sorted({*range(0, len(orbit), max(1, rounds // 10)), rounds})
        points = [orbit[i] for i in table_rounds]
        _table({"round": table_rounds, "theta": [p[0] for p in points], "psi": [p[1] for p in points]})
        print()
        for source, pair in (("by the formula", values), ("measured", measured)):
            if pair:
                formatted = ", ".join(f"{v.real:.5f}{v.imag:+.5f}i" for v in pair)
                print(f"Eigenvalues of a round, {source}: {formatted}; largest modulus {max(map(abs, pair)):.5f}")
        print(f"The game {verdict}.")
    _animate(out, lambda: toy.figures(game, penalty, orbit, **settings))


def line(
    *,
    seed: Seed = 0,
    rounds: Annotated[int, Field(ge=1, le=1_000_000, description="rounds to play")] = 2000,
    head_start: Annotated[int, Field(ge=0, description="initial rounds that train the discriminator only")] = 300,
    json: Json = False,
    out: Out = None,
) -> None:
    """Figure 1 of Goodfellow et al. 2014 in one dimension: densities, discriminator, generator.

    In the head start D approaches p_d / (p_d + p_g), the optimum for this generator (figure 1b); then the generator
    follows its gradient (1c) until p_g = p_d and D = 1/2 everywhere (1d).
    """
    from sparring.toys import line as toy

    states = list(_with_progress(toy.play(seed, rounds=rounds, head_start=head_start), "line", rounds))
    columns: dict[str, list[float]] = {
        "round": [state.round for state in states],
        "|D - best|": [state.distance_to_optimal for state in states],
        "|D - 1/2|": [state.distance_to_half for state in states],
        "|p_g - p_d|": [state.distance for state in states],
    }
    if json:
        names = ("round", "gap", "undecided", "distance")
        history = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        print(_to_json({"toy": "line", "seed": seed, "rounds": rounds, **history[-1], "history": history}))
    else:
        rows = [i for i, state in enumerate(states) if state.round in (0, head_start) or i % 10 == 0]
        rows = sorted({*rows, len(states) - 1})
        _table({name: [values[i] for i in rows] for name, values in columns.items()})
        print("\nMeans over points from both densities; the last column is their total variation distance, 0 to 1.")
    _animate(out, lambda: toy.figures(states))


Method = Annotated[
    Literal["r3gan", "wgan-gp", "wgan", "pacgan", "gan"],
    Field(description="method; gan is the baseline without any measure against mode loss"),
]
Rounds = Annotated[int, Field(ge=1, le=1_000_000, description="rounds to play")]
ConstantCodes = Annotated[
    bool, Field(description="set all latent codes to 0: without noise the generator is a single point")
]


def ring(
    *,
    system: Method = "r3gan",
    seed: Seed = 0,
    rounds: Rounds = 6000,
    constant_codes: ConstantCodes = False,
    json: Json = False,
    out: Out = None,
) -> None:
    """Eight Gaussians on a circle: modes, high-quality fraction, reverse KL, decision surface.

    Centers on a circle of radius 1, std .01 (Lin et al. 2018). A sample is of high quality within 3 std of its nearest
    mode; a mode with a high-quality sample is found; reverse KL compares the mode histogram with the uniform
    distribution. 2,500 samples.
    """
    _mixture("ring", system, seed, rounds, constant_codes, json, out)


def grid(
    *,
    system: Method = "r3gan",
    seed: Seed = 0,
    rounds: Rounds = 6000,
    constant_codes: ConstantCodes = False,
    json: Json = False,
    out: Out = None,
) -> None:
    """Twenty-five Gaussians on a grid: the same metrics.

    Centers {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}, std .05 (Lin et al. 2018).
    """
    _mixture("grid", system, seed, rounds, constant_codes, json, out)


def _mixture(
    name: str, system: str, seed: int, rounds: int, constant_codes: bool, json: bool, out: Path | None
) -> None:
    from time import monotonic

    from sparring.toys import mixtures as toy

    mixture = toy.MIXTURES[name]()
    started = monotonic()
    settings: dict[str, Any] = {"seed": seed, "rounds": rounds, "constant_codes": constant_codes}
    play = toy.play(mixture, system, every=max(1, rounds // 60), **settings)
    states = list(_with_progress(play, f"{name}, {system}", rounds))
    minutes = (monotonic() - started) / 60
    last = states[-1].modes
    if json:
        config = {"toy": name, "system": system, **settings, "minutes": round(minutes, 2)}
        history = [{"round": state.round, **state.modes._asdict()} for state in states]
        print(_to_json({**config, "modes": len(mixture.centers), **last._asdict(), "history": history}))
    else:
        rows = [*states[:: max(1, len(states) // 10)], states[-1]]
        columns = {"round": [s.round for s in rows], "modes found": [s.modes.found for s in rows]}
        shares = {"high quality %": [100 * s.modes.high_quality for s in rows]}
        rest = {"reverse KL": [s.modes.reverse_kl for s in rows], "spread": [s.modes.spread for s in rows]}
        _table({**columns, **shares, **rest})
        print(
            f"\n{last.found} of {len(mixture.centers)} modes, {100 * last.high_quality:.1f} % of high quality (real "
            f"data: 98.9 %), reverse KL {last.reverse_kl:.4f} nats, spread {last.spread:.2f} times the real one"
        )
    _animate(out, lambda: toy.figures(mixture, states))


def checkerboards(
    *,
    kernel: Annotated[
        int | None,
        Field(ge=1, le=64, description="side of the kernel: 4 (default: each from stride + 1 to 2 stride + 1)"),
    ] = None,
    stride: Annotated[int, Field(ge=2, le=16, description="stride, the factor of upsampling")] = 2,
    seed: Seed = 0,
    json: Json = False,
    out: Out = None,
) -> None:
    """Kernels and strides: what an upsampling layer makes of a constant image.

    Odena et al. 2016. The energy of the pattern, as a share of the output's mean square, for equal weights and for
    random ones, N(0, .02^2) from 64 channels, mean of 200 draws. A kernel whose size is a multiple of the stride makes
    the output even for equal weights; only resizing makes it even for all.
    """
    from sparring.toys import checkerboards as toy

    layers = toy.play(kernel=kernel, stride=stride, seed=seed)
    energies = [(layer.name, float(toy.energy(layer.ones)), float(toy.energy(layer.random).mean())) for layer in layers]
    if json:
        rows = [dict(zip(("layer", "ones", "random"), row, strict=True)) for row in energies]
        print(_to_json({"toy": "checkerboards", "kernel": kernel, "stride": stride, "seed": seed, "layers": rows}))
    else:
        names, ones, random = zip(*energies, strict=True)
        _table({"layer": names, "equal weights": ones, "random weights": random})
    _animate(out, lambda: toy.figures(layers))


def saturation(
    *,
    steps: Annotated[
        int, Field(ge=0, le=100_000, description="steps of the discriminator on digits; 0: curves only")
    ] = 200,
    seed: Seed = 0,
    json: Json = False,
    out: Picture = None,
) -> None:
    """Cost and gradient of the generator against D(G(z)), and how the gradient vanishes on digits.

    Goodfellow et al. 2014, section 3. On real digits only D learns, with the same seed in every game, and the norm of
    G's gradient is measured: in the minimax game it vanishes. Also tells which games are zero-sum. Needs the data set
    digits (pip install 'sparring[demo]'), unless --steps is 0.
    """
    from sparring.losses import GAMES
    from sparring.toys import saturation as toy

    games: dict[str, list[toy.State]] = {}
    if steps:
        from sparring.data.loading import load

        digits = load("digits")
        for name in toy.PLAYED:
            games[name] = list(toy.play(name, digits, seed=seed, steps=steps))
    curves = {name: toy.curve(name, toy.PROBABILITIES) for name in toy.COSTS}
    sums = {name: [toy.payoffs(name, p) for p in toy.PROBABILITIES] for name in GAMES}
    if json:
        costs = {name: {"cost": cost, "gradient": gradient} for name, (cost, gradient) in curves.items()}
        measured = {
            name: [{"steps": s.steps, "score": s.score, "gradient": s.gradient} for s in states]
            for name, states in games.items()
        }
        zero_sum = {name: toy.zero_sum(name) for name in GAMES}
        config = {"toy": "saturation", "seed": seed, "steps": steps, "probabilities": toy.PROBABILITIES}
        print(_to_json({**config, "costs": costs, "payoffs": sums, "zero_sum": zero_sum, "digits": measured}))
    else:
        print("Cost of the generator:")
        _table({"D(G(z))": toy.PROBABILITIES, **{name: cost for name, (cost, _) in curves.items()}})
        ranges = (f"{name} {cost.lowest:g} to {cost.highest:g}" for name, cost in toy.COSTS.items())
        print(f"Ranges: {'; '.join(ranges)}.\n\nGradient of the cost with respect to the score:")
        _table({"D(G(z))": toy.PROBABILITIES, **{name: gradient for name, (_, gradient) in curves.items()}})
        print("\nSum of both players' payoffs where D(x) = 1/2; a game is zero-sum if it does not depend on G:")
        _table({"D(G(z))": toy.PROBABILITIES, **sums})
        print(f"Zero-sum: {', '.join(name for name in GAMES if toy.zero_sum(name))}.")
        if games:
            print("\nOn digits, norm of G's gradient while only D learns:")
            rows = sorted({*range(0, steps + 1, max(1, steps // 8)), steps})
            columns = {name: [states[i].gradient for i in rows] for name, states in games.items()}
            probability = [games["minimax"][i].score for i in rows]
            _table({"steps of D": rows, "D(G(z)), first two": probability, **columns})
    _picture(out, lambda: toy.figure(games))


def distance(
    *,
    steps: Annotated[int, Field(ge=0, le=100_000, description="steps of D and of the critic; 0: formulas only")] = 200,
    seed: Seed = 0,
    json: Json = False,
    out: Picture = None,
) -> None:
    """JSD, KL and Wasserstein distance of two distributions; a discriminator and a critic between them.

    Parallel lines at distance theta (Arjovsky et al. 2017, example 1): the JSD is log 2 and KL infinite however near
    the lines are, while the Wasserstein distance is theta. Beside them N(0, 1) and N(theta, 1), with the value
    C(G) = -log 4 + 2 JSD of the minimax game. Then D of a GAN and the critic of WGAN-GP are trained on the lines.
    """
    from sparring.toys import distance as toy

    found = {name: [toy.distances(pair(theta)) for theta in toy.THETAS] for name, pair in toy.PAIRS.items()}
    trained = list(toy.play(toy.THETAS[2:], seed=seed, steps=steps)) if steps else []
    if json:
        numbers = {name: [vars(one) for one in measured] for name, measured in found.items()}
        networks = [
            {"theta": theta, **{name: {"distance": t.distance, "gradient": t.gradient} for name, t in pair.items()}}
            for theta, pair in trained
        ]
        config = {"toy": "distance", "seed": seed, "steps": steps, "thetas": toy.THETAS}
        print(_to_json({**config, **numbers, "trained": networks}))
    else:
        for name, title in (("lines", "Parallel lines"), ("gaussians", "N(0, 1) and N(theta, 1)")):
            print(f"{title}:")
            columns = {"JSD": [d.jsd for d in found[name]], "KL": [d.kl for d in found[name]]}
            value = {"C(G)": [d.value for d in found[name]], "-log 4 + 2 JSD": [d.from_jsd for d in found[name]]}
            _table({"theta": toy.THETAS, **columns, "Wasserstein": [d.wasserstein for d in found[name]], **value})
        if trained:
            print("\nTrained on the lines; gradients are of the generator's loss with respect to theta:")
            columns = {
                "JSD by D": [pair["gan"].distance for _, pair in trained],
                "gradient, minimax": [pair["gan"].gradient for _, pair in trained],
                "distance by the critic": [pair["wgan-gp"].distance for _, pair in trained],
                "by its formula": [theta * toy.slope(theta) for theta, _ in trained],
                "gradient, WGAN-GP": [pair["wgan-gp"].gradient for _, pair in trained],
            }
            _table({"theta": [theta for theta, _ in trained], **columns})
    _picture(out, lambda: toy.figure(trained))


def elbo(
    *,
    rounds: Annotated[int, Field(ge=0, le=100_000, description="rounds per VAE; 0: formulas only")] = 300,
    seed: Seed = 0,
    json: Json = False,
    out: Picture = None,
) -> None:
    """The ELBO of useful and of useless codes: equal.

    Data is N(0, 1), the decoder N(w z, sigma^2). The best bound is the log-likelihood for every sigma up to 1, but the
    codes carry -log sigma nats about the data: none at sigma = 1, where the decoder needs no codes (posterior
    collapse).
    """
    from sparring.toys import elbo as toy

    trained = list(toy.play(seed=seed, rounds=rounds)) if rounds else []
    best = [toy.optimum(sigma) for sigma in toy.SIGMAS]
    if json:
        rows = [{"sigma": sigma, "distortion": b.distortion, "rate": b.rate, "bound": b.bound} for sigma, b in trained]
        formula = [{"distortion": b.distortion, "rate": b.rate, "bound": b.bound} for b in best]
        config = {"toy": "elbo", "seed": seed, "rounds": rounds, "sigmas": toy.SIGMAS}
        print(_to_json({**config, "log_likelihood": toy.LOG_LIKELIHOOD, "optimum": formula, "trained": rows}))
    else:
        columns: dict[str, Iterable[float]] = {
            "best bound": [b.bound for b in best],
            "its rate": [b.rate for b in best],
        }
        if trained:
            columns |= {"bound, trained": [b.bound for _, b in trained], "rate": [b.rate for _, b in trained]}
        _table({"sigma": toy.SIGMAS, **columns})
        print(f"\nIn nats per point. Log-likelihood of the data's own density: {toy.LOG_LIKELIHOOD:.4f}.")
    _picture(out, lambda: toy.figure(trained))


TOYS: dict[str, Callable[..., None]] = {
    "xy": xy,
    "dirac": dirac,
    "line": line,
    "ring": ring,
    "grid": grid,
    "checkerboards": checkerboards,
    "saturation": saturation,
    "distance": distance,
    "elbo": elbo,
}


def _with_progress(states: "Iterable[T]", title: str, rounds: int) -> "Iterator[T]":
    """Yield the states with a progress bar."""
    from sparring.progress import Progress

    with Progress(title, rounds) as progress:
        for state in states:
            progress.advance(state.round - progress.done)
            yield state


def _to_json(config: Mapping[str, Any]) -> str:
    """JSON text; numbers that are not finite become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(v) for name, v in value.items()}
        if isinstance(value, list | tuple):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return dumps(finite(config))


def _table(columns: Mapping[str, Iterable[float | str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(_cell, row))
    Console().print(table)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value + 0.0:.4g}"


def _animate(out: Path | None, figures: "Callable[[], Iterable[Figure]]") -> None:
    """Write the animation if `out` is given."""
    if out is None:
        return
    from sparring.progress import Progress
    from sparring.toys.frames import MAX_FRAMES, webp

    with Progress("animation frames", MAX_FRAMES) as progress:

        def with_progress() -> "Iterator[Figure]":
            for figure in figures():
                yield figure
                progress.advance()

        write(out, webp(with_progress()))
    print(out, file=sys.stderr)


def _picture(out: Path | None, figure: "Callable[[], Figure]") -> None:
    """Write the picture if `out` is given."""
    if out is None:
        return
    from sparring.toys.frames import webp

    write(out, webp([figure()]))
    print(out, file=sys.stderr)
