"""The referee: who moves what, pieces and processes that equal the whole, guards, averages, precision."""

import copy
import json
import math
from collections import deque
from functools import partial
from types import FunctionType

import pytest
import safetensors.torch
import torch
from pairs import pair
from torch import nn
from toys import adam, gan, images, referee, state

from sparring.data.dataset import Spec
from sparring.device import resolve_precision
from sparring.errors import DivergedError, SparringError
from sparring.losses import game
from sparring.networks import dcgan
from sparring.networks.diffaug import DiffAugment
from sparring.networks.minibatch import MinibatchDiscrimination, MinibatchStd
from sparring.networks.noise import GaussianNoise
from sparring.networks.scheduled import Scheduled
from sparring.networks.spectral import SpectralLinear
from sparring.noise import truncated, uniform, unit_uniform
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, info, load_recipe, resolve_arguments
from sparring.referee import EMA, RAMPUP, last_round_of_learning, total_norm
from sparring.seeds import ShardedRng, derive_seed, make_generator
from sparring.system import Move, System
from sparring.systems.gan import GAN
from sparring.systems.r1 import R1GAN


def play(judge, rounds):
    return [judge.reduce_logs(judge.play()) for _ in range(rounds)]


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **({"rtol": 0, "atol": 0} | tolerance), msg=name)


# Moves.


def test_only_the_named_player_learns_and_the_step_is_taken_when_the_next_line_runs():
    seen = []

    class Watched(GAN):
        def round(self, feed):
            def snapshot():
                return {k: v.clone() for k, v in self.state_dict().items()}

            before = snapshot()
            for move in GAN.round(self, feed):
                yield move
                after = snapshot()
                seen.append((move.player, {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}))
                assert all(p.grad is None for p in self.parameters())
                before = after

    referee(gan(Watched)).play()
    assert seen == [("discriminator", {"D"}), ("generator", {"G"})]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("resample_noise", [True, False])
def test_a_round_is_textbook_gan_training(k, resample_noise):
    """The same numbers from the plainest loop one can write: algorithm 1 with k steps, with Adam."""
    judge = referee(gan(discriminator_steps=k, resample_noise=resample_noise))
    plain = gan()
    opt_d = torch.optim.Adam(plain.D.parameters(), lr=1e-3, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(plain.G.parameters(), lr=1e-3, betas=(0.5, 0.999))
    data = images()
    bce = nn.functional.binary_cross_entropy_with_logits
    for r in range(1, 4):
        results = judge.play()
        assert [result.player for result in results] == ["discriminator"] * k + ["generator"]
        draws = make_generator(0, "noise", r)
        for step in range(k):
            rows = judge.feeds[0].rows("train", (r - 1) * k + step)
            x = data.images[rows].float() / 127.5 - 1
            fake = plain.G(torch.randn(16, 5, generator=draws))
            loss = bce(plain.D(x), torch.ones(16, 1)) + bce(plain.D(fake.detach()), torch.zeros(16, 1))
            opt_d.zero_grad()
            loss.backward()
            opt_d.step()
        if resample_noise:
            fake = plain.G(torch.randn(16, 5, generator=draws))
        loss = bce(plain.D(fake), torch.ones(16, 1))
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()
    assert judge.feeds[0].positions == {"train": 3 * k}
    for a, b in zip(judge.system.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_reused_fakes_are_the_ones_the_discriminator_saw():
    fakes = []

    class Spy(nn.Module):
        def __init__(self, D):
            super().__init__()
            self.D = D

        def forward(self, x):
            fakes.append(x.detach().clone())
            return self.D(x)

    for fresh in (True, False):
        fakes.clear()
        system = gan(resample_noise=fresh)
        system.D = Spy(system.D)
        referee(system).play()
        assert torch.equal(fakes[1], fakes[2]) is not fresh  # real, fake, fake again


def test_mixed_batches_share_batch_norm_statistics():
    def norms(joint_batch):
        D = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 1))
        torch.manual_seed(0)
        system = GAN(gan().G, D, latent_dim=5, game=game("hinge"), joint_batch=joint_batch)
        x, fake = torch.randn(8, 1, 4, 4) + 3, torch.randn(8, 1, 4, 4) - 3
        system.scores(x, fake)
        return D[1].num_batches_tracked.item()

    assert norms(joint_batch=True) == 1
    assert norms(joint_batch=False) == 2


# Pieces and processes.


@pytest.mark.parametrize("kind", [GAN, R1GAN])
def test_two_pieces_equal_the_whole(kind):
    whole, pieces = referee(gan(kind).double()), referee(gan(kind).double(), grad_accum=2)
    told = play(whole, 5), play(pieces, 5)
    assert_same(state(pieces), state(whole), rtol=1e-9, atol=1e-12)
    for a, b in zip(*told, strict=True):
        assert [m["player"] for m in a] == [m["player"] for m in b]
        assert [m["loss"] for m in a] == pytest.approx([m["loss"] for m in b])


def test_two_processes_equal_one(tmp_path):
    """gloo, half the batch each, float64, no batch norm, a second derivative in the loss: the same weights."""
    out = tmp_path / "two.safetensors"

    def half(rank):
        judge = referee(gan(R1GAN).double(), batch=16)
        logged = play(judge, 5)
        if rank == 0:
            safetensors.torch.save_file({k: v.contiguous() for k, v in state(judge).items()}, out)
        judge.processes.wait_for_everyone()
        return json.dumps([logged, judge.feeds[0].rows("train", 3).tolist()])

    ends = pair(half)
    assert [code for code, _ in ends] == [0, 0], ends
    (logged, first), (_, second) = (json.loads(text) for _, text in ends)

    one = referee(gan(R1GAN).double(), batch=16)
    for mine, theirs in zip(play(one, 5), logged, strict=True):
        assert [m["loss"] for m in mine] == pytest.approx([m["loss"] for m in theirs], rel=1e-6)
    assert_same(safetensors.torch.load_file(out), state(one), rtol=1e-9, atol=1e-12)
    assert first + second == one.feeds[0].rows("train", 3).tolist()


def test_draws_of_the_shares_are_the_rows_of_the_whole():
    def five_numbers(g, rows):
        return torch.randn(rows, 5, generator=g)

    whole = ShardedRng(make_generator(1, "noise", 7))
    shares = [ShardedRng(make_generator(1, "noise", 7), s, 3) for s in range(3)]
    for _ in range(3):
        expected = whole.rows(five_numbers, 12)
        assert torch.equal(torch.cat([d.rows(five_numbers, 4) for d in shares]), expected)


# What is refused.


def test_a_round_without_yield_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="never yields"):

        class Silent(System):
            def round(self, feed):
                return None


def test_a_yield_inside_no_grad_is_named():
    class Sleepy(GAN):
        def round(self, feed):
            loss = self.D(feed("train")[0]).mean()
            with torch.no_grad():
                yield Move("discriminator", loss)

    with pytest.raises(SparringError, match=r"inside torch\.no_grad"):
        referee(gan(Sleepy)).play()
    assert torch.is_grad_enabled()


def test_copies_that_disagree_are_named():
    class Torn(GAN):
        turns = 0

        def round(self, feed):
            type(self).turns += 1
            player = "discriminator" if type(self).turns % 2 else "generator"
            yield Move(player, self.D(self.G(self.noise(4))).mean())

    with pytest.raises(SparringError, match="yield moves of different players"):
        referee(gan(Torn), grad_accum=2).play()


def test_copies_with_different_numbers_of_moves_are_named():
    class Uneven(GAN):
        turns = 0

        def round(self, feed):
            type(self).turns += 1
            for _ in range(type(self).turns):
                yield Move("generator", self.D(self.G(self.noise(4))).mean())

    with pytest.raises(SparringError, match="different numbers of moves"):
        referee(gan(Uneven), grad_accum=2).play()


def test_optimizers_for_other_players_are_named():
    with pytest.raises(SparringError, match=r"\['critic'\].*\['discriminator', 'generator'\]"):
        referee(optimizers={"critic": adam()})


def test_a_move_of_nobody_is_named():
    class Stranger(GAN):
        def round(self, feed):
            yield Move("critic", self.D(self.G(self.noise(4))).mean())

    with pytest.raises(SparringError, match="a move of 'critic'"):
        referee(gan(Stranger)).play()


def test_a_detached_loss_is_named():
    class Detached(GAN):
        def round(self, feed):
            yield Move("generator", self.D(self.G(self.noise(4)).detach()).mean())

    with pytest.raises(SparringError, match="does not depend on its weights"):
        referee(gan(Detached)).play()


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_nothing_is_updated_with_numbers_that_are_not_finite(poison):
    class Poisoned(GAN):
        poisoned = False

        def round(self, feed):
            for move in GAN.round(self, feed):
                if self.poisoned and move.player == "generator":
                    if poison == "loss":
                        move.loss = move.loss * float("nan")
                    else:  # finite value, infinite slope: the square root of zero
                        move.loss = move.loss + (self.G[0].weight[0, 0] * 0).sqrt()
                yield move

    judge = referee(gan(Poisoned))
    play(judge, 3)
    judge.system.poisoned = True
    before = {k: v.clone() for k, v in judge.system.G.state_dict().items()}
    with pytest.raises(DivergedError, match=f"round 4: the generator's {poison}.* is"):
        judge.play()
    assert_same(judge.system.G.state_dict(), before)


def test_an_explosion_stops_the_run_but_a_big_steady_gradient_does_not():
    class Loud(GAN):
        loud = 1.0

        def round(self, feed):
            for move in GAN.round(self, feed):
                move.loss = move.loss * self.loud
                yield move

    judge = referee(gan(Loud))
    judge.system.loud = 1e6
    play(judge, 3)
    judge.system.loud = 1e12
    with pytest.raises(DivergedError, match="recent median"):
        judge.play()


# Averages, schedules, precision.


def live_and_shown(judge):
    return judge.system.G[0].weight.detach().clone(), judge.ema_system.G[0].weight.detach().clone()


def decay_in_round(n, decay):
    """Of an average from round 0 on: its half-life is at most RAMPUP n."""
    return 0.5 ** (1 / min(math.log(0.5) / math.log(decay), RAMPUP * n))


def test_average_follows_the_formula_in_every_round():
    judge = referee(ema_decay=0.9)
    expected, _ = live_and_shown(judge)
    for n in range(1, 41):
        judge.play()
        live, shown = live_and_shown(judge)
        d = decay_in_round(n, 0.9)
        expected = d * expected + (1 - d) * live
        torch.testing.assert_close(shown, expected, rtol=1e-4, atol=1e-6)
    assert d == pytest.approx(0.9)  # at the end the decay is the one that was asked for
    assert judge.ema_system.D is judge.system.D
    assert not torch.equal(judge.ema_system.sample(4), judge.system.sample(4))


def test_a_long_average_is_updated_in_steps_and_shown_as_of_now():
    judge = referee(ema_decay=0.999)
    before, _ = live_and_shown(judge)
    last = 0
    for n in range(1, 20):
        judge.play()
        live, shown = live_and_shown(judge)
        kept = math.prod(decay_in_round(m, 0.999) for m in range(last + 1, n + 1))
        expected = kept * before + (1 - kept) * live
        torch.testing.assert_close(shown, expected, rtol=1e-4, atol=1e-6)
        if n % 8 == 0:
            before, last = expected, n


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.999])
def test_the_memory_of_an_average_is_what_its_decay_says(decay):
    """Live weights that leap from 0 to 1 at a round: 1 - 1/e of the leap is shown 1 / (1 - decay) rounds later."""
    memory = round(1 / (1 - decay))
    for start, leap in ((3, 3), (0, 4 * memory)):
        system = gan()
        system.G = nn.Linear(1, 1)
        ema = EMA(system, decay, start)
        for n in range(start, leap + memory + 1):
            nn.init.constant_(system.G.weight, float(n > leap))
            ema.update(n)
        assert float(ema.averaged(leap + memory).G.weight.detach()) == pytest.approx(1 - math.exp(-1), abs=0.02)


def test_average_zero_is_the_live_network():
    judge = referee(ema_decay=0.0)
    for _ in range(5):
        judge.play()
        assert judge.ema_system.G is judge.system.G
    assert "ema" not in judge.state_tensors()


def test_before_an_average_starts_the_live_weights_are_shown():
    judge = referee(ema_decay=0.999, ema_start=12)
    for n in range(1, 16):
        judge.play()
        live, shown = live_and_shown(judge)
        assert torch.equal(shown, live) is (n <= 12)
        if n == 12:
            begun = live
    torch.testing.assert_close(shown, begun + (1 - 0.999**3) * (live - begun))


@pytest.mark.parametrize("ema_start", [0, 5])
def test_looking_at_the_average_changes_nothing(ema_start):
    looked, unseen = (referee(ema_decay=0.995, ema_start=ema_start) for _ in range(2))
    for _ in range(11):
        looked.play()
        unseen.play()
        looked.ema_system.sample(2)
    assert_same(state(looked), state(unseen))
    assert_same(looked.ema_system.state_dict(), unseen.ema_system.state_dict())


@pytest.mark.parametrize("ema_decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_is_none_is_refused(ema_decay):
    with pytest.raises(SparringError, match="ema_decay is"):
        referee(ema_decay=ema_decay)


def test_the_norm_is_that_of_all_gradients_in_any_layout():
    parts = [torch.randn(3, 5, 4, 4).to(memory_format=torch.channels_last), torch.randn(7), torch.randn(6, 2)]
    expected = torch.cat([p.flatten() for p in parts]).norm()
    torch.testing.assert_close(total_norm(parts), expected)
    parts[1][2] = float("inf")
    assert not bool(total_norm(parts).isfinite())
    parts[1][2] = float("nan")
    assert not bool(total_norm(parts).isfinite())


def test_schedules_set_the_optimizer_for_each_round():
    sgd = partial(torch.optim.SGD, lr=1.0, momentum=0.5)
    schedule = {"generator": lambda r: {"lr": 0.1 / r, "momentum": 0.5 + 0.01 * r}}
    judge = referee(optimizers={"discriminator": sgd, "generator": sgd}, schedules=schedule)
    play(judge, 4)
    group = judge.optimizers["generator"].param_groups[0]
    assert (group["lr"], group["momentum"]) == pytest.approx((0.025, 0.54))
    assert judge.optimizers["discriminator"].param_groups[0]["lr"] == 1.0


def test_a_learning_rate_never_falls_below_zero():
    """A schedule that goes on falling: from the round on in which it reaches 0, its player stands still."""
    falling = {"generator": lambda r: {"lr": 1e-2 * (1 - r / 4)}}
    judge = referee(schedules=falling)
    play(judge, 3)
    at_its_end = {k: v.clone() for k, v in judge.system.G.state_dict().items()}
    play(judge, 4)
    assert_same(judge.system.G.state_dict(), at_its_end)
    assert judge.optimizers["generator"].param_groups[0]["lr"] == 0
    assert judge.schedule_ends(3) == {}
    assert judge.schedule_ends(7) == {"generator": 3}


@pytest.mark.parametrize(
    ("name", "size", "arguments", "end"),
    [
        ("improved-gan", 28, {"lr_decay_rounds": 12}, 12),
        ("improved-gan", 28, {}, None),
        ("wgan-gp-resnet", 32, {"width": 4, "lr_decay_rounds": 1000}, 1000),
        ("cyclegan", 16, {"width": 4, "blocks": 1, "d_layers": 1, "lr_constant_rounds": 5, "lr_decay_rounds": 4}, 9),
        ("chollet-frogs", 32, {"width": 4}, None),
        ("chollet-vae", 28, {"lr_warmup_rounds": 9}, None),
        ("goodfellow-mlp", 28, {}, None),
        ("aae", 28, {"width": 4}, None),
        ("r3gan", 32, {"width": 8, "groups": 1, "blocks": 1}, None),
    ],
)
def test_rates_that_fall_to_zero_do_so_after_the_round_that_is_named(name, size, arguments, end):
    function = load_recipe(name, RECIPES)
    classes = tuple(map(str, range(info(function).classes))) or (("a", "b") if name == "cyclegan" else ())
    with torch.device("meta"):
        made = build_recipe(function, Spec(1, size, size, classes), resolve_arguments(function, arguments))
    assert made.schedules
    for schedule in made.schedules.values():
        assert last_round_of_learning(schedule, 10**9) == end
        assert last_round_of_learning(schedule, end or 1) is None
        rounds = range(1, (end or 200_000) + 3, 1 if end else 997)
        rates = {r: schedule(r)["lr"] for r in rounds}
        assert min(rates.values()) >= 0
        if end:
            assert [r for r, rate in rates.items() if rate == 0] == [end + 1, end + 2]


class Stubborn(nn.Module):
    """A layer of somebody else's that says of itself that it sees the whole batch."""

    batchwise = "my own layer"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Identity(), []),
        (nn.Dropout(0.0), []),
        (nn.LayerNorm(16), []),
        (nn.InstanceNorm2d(16), []),
        (nn.Dropout(0.5), ["dropout"]),
        (nn.BatchNorm1d(16), ["batch norm"]),
        (MinibatchDiscrimination(16, 2, 2), ["minibatch discrimination"]),
        (MinibatchStd(), ["minibatch standard deviation"]),
        (GaussianNoise(0.1), ["noise in layers"]),
        (DiffAugment("color"), ["augmentation"]),
        (SpectralLinear(16, 16), ["spectral norm"]),
        (Stubborn(), ["my own layer"]),
    ],
)
def test_what_is_another_game_in_pieces_is_known(layer, expected):
    system = gan()
    system.D.append(layer)
    assert referee(system).batchwise() == expected


@pytest.mark.parametrize(
    "layer", [nn.Identity(), nn.BatchNorm1d(16), nn.Dropout(0.5), MinibatchDiscrimination(16, 2, 2)]
)
def test_pieces_equal_the_whole_where_nothing_is_batchwise_and_only_there(layer):
    def played(grad_accum):
        system = gan().double()
        extra = copy.deepcopy(layer).double()
        inputs = 18 if isinstance(layer, MinibatchDiscrimination) else 16
        system.D = nn.Sequential(nn.Flatten(), extra, nn.Linear(inputs, 1).double())
        torch.manual_seed(3)
        nn.init.normal_(system.D[2].weight)
        judge = referee(system, grad_accum=grad_accum)
        play(judge, 3)
        return judge

    whole, pieces = played(1), played(2)
    start = gan().double().G[0].weight
    moved = (whole.system.G[0].weight - start).detach().abs().max()
    apart = float((pieces.system.G[0].weight - whole.system.G[0].weight).detach().abs().max() / moved)
    assert (apart < 1e-5) is not bool(whole.batchwise())


def test_bf16_stays_close_to_fp32_and_keeps_fp32_weights():
    exact, coarse = referee(precision="fp32"), referee(precision="bf16")
    a, b = play(exact, 10), play(coarse, 10)
    assert all(p.dtype == torch.float32 for p in coarse.system.parameters())
    assert a != b
    for x, y in zip(a, b, strict=True):
        assert [m["loss"] for m in x] == pytest.approx([m["loss"] for m in y], rel=0.05)


def test_images_are_made_in_the_precision_of_training_and_all_else_in_float32():
    """Rounded to 8 bits of mantissa, so within 1 % of the range; codes that are looked for need exact gradients."""
    exact, coarse = referee(precision="fp32").ema_system, referee(precision="bf16").ema_system
    assert (exact.precision, coarse.precision) == (torch.float32, torch.bfloat16)
    a, b = exact.sample(64), coarse.sample(64)
    assert b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.02
    assert exact.score(a).equal(coarse.score(a))
    z = torch.randn(8, 5)
    assert exact.decode(z.requires_grad_()).equal(coarse.decode(z))


def test_precision_names_are_checked():
    with pytest.raises(SparringError, match="auto, fp32 or bf16"):
        resolve_precision("fp16", torch.device("cpu"))
    assert resolve_precision("fp32", torch.device("cpu")) == torch.float32


def test_convolutions_are_channels_last():
    system = GAN(dcgan.generator(5, 4, 3, 16), dcgan.discriminator(4, 3, 16), latent_dim=5, game=game("hinge"))
    judge = referee(system, images(shape=(3, 16, 16)))
    play(judge, 2)
    assert system.D[0].weight.is_contiguous(memory_format=torch.channels_last)


# Resume in memory, seeds, noise.


@pytest.mark.parametrize(
    "make",
    [
        lambda: gan(dropout=0.5),
        lambda: gan(R1GAN),
        lambda: GAN(
            dcgan.generator(5, 4, 1, 16),
            dcgan.discriminator(4, 1, 16),
            latent_dim=5,
            game=game("non-saturating", label_flip_prob=0.1),
        ),
    ],
)
def test_restored_referee_continues_bit_for_bit(make):
    def fresh():
        torch.manual_seed(5)
        system = make()
        shape = (1, 16, 16) if isinstance(system.D[0], nn.Conv2d) else (1, 4, 4)
        return referee(
            system,
            images(shape=shape),
            precision="auto",
            optimizers={"discriminator": adam(), "generator": partial(torch.optim.SGD, lr=0.01, momentum=0.9)},
        )

    straight = fresh()
    first = play(straight, 7)
    saved, numbers = state(straight), json.loads(json.dumps(straight.state_numbers()))
    rest = play(straight, 6)

    files = {}
    for key, value in saved.items():
        file, _, name = key.partition("/")
        files.setdefault(file, {})[name] = value.contiguous()
    resumed = fresh()
    resumed.load_state({"optimizer-generator": {}, **files}, numbers)
    assert play(resumed, 6) == rest
    assert_same(state(resumed), state(straight))
    assert resumed.state_numbers() == straight.state_numbers()
    assert first


def test_everything_that_play_changes_is_in_the_checkpoint():
    """R6: walk over every tensor and number reachable from the referee; what changes must be saved or derived."""
    judge = referee(gan(dropout=0.5), images(40))
    play(judge, 4)

    def reachable(thing, path, seen):
        if id(thing) in seen or isinstance(thing, type | FunctionType):
            return
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            values = thing.detach().double()
            yield path, (tuple(thing.shape), values.sum().item(), values.abs().sum().item())
        elif isinstance(thing, int | float | bool | str):
            yield path, thing
        elif isinstance(thing, dict):
            for k, v in thing.items():
                yield from reachable(v, f"{path}[{k if isinstance(k, str) else '...'}]", seen)
        elif isinstance(thing, list | tuple | set | deque):
            for i, v in enumerate(thing):
                yield from reachable(v, f"{path}[{i}]", seen)
        elif hasattr(thing, "__dict__") and type(thing).__module__.startswith(("sparring", "torch")):
            for k, v in vars(thing).items():
                yield from reachable(v, f"{path}.{k}", seen)

    before = dict(reachable(judge, "", set()))
    play(judge, 5)
    after = dict(reachable(judge, "", set()))
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    saved = (
        "._recent",
        ".round",
        ".positions",
        "_parameters",
        "_buffers",
        ".state[",
        ".weights[",
        ".averaged",
    )
    derived = ("._orders", "._seed", "._round_index")
    unknown = {path for path in changed if not any(word in path for word in saved + derived)}
    assert changed
    assert not unknown


class Counter(Scheduled):
    """Passes its input on, and records the rounds that it is set to."""

    def __init__(self):
        super().__init__()
        self.rounds = []

    def set_round(self, round_index):
        super().set_round(round_index)
        self.rounds.append(round_index)

    def forward(self, x):
        return x


def test_scheduled_layers_are_set_to_every_round_and_those_of_the_average_follow():
    toy = gan()
    system = GAN(nn.Sequential(toy.G, Counter()), toy.D, latent_dim=5, game=toy.game)
    judge = referee(system)
    play(judge, 3)
    assert system.G[1].rounds == [0, 1, 2]
    assert judge.ema_system.G is not system.G
    assert judge.ema_system.G[1].round_index == 2


def test_other_seeds_play_another_game():
    assert play(referee(seed=1), 2) != play(referee(seed=2), 2)
    assert play(referee(seed=1), 2) == play(referee(seed=1), 2)
    assert derive_seed(1, "a") != derive_seed("1a") != derive_seed(1, "b")


def test_noise_kinds():
    g = make_generator("test")
    one = unit_uniform(g, (50_000,))
    assert 1.73 < float(one.abs().max()) <= 3**0.5
    assert float(one.var()) == pytest.approx(1, abs=0.02)
    u = uniform(g, (50_000,))
    t = truncated(g, (50_000,))
    assert -1 <= float(u.min()) < -0.99 < 0.99 < float(u.max()) <= 1
    assert float(t.abs().max()) <= 2
    assert float(t.std()) == pytest.approx(0.8796, abs=0.01)  # of N(0, 1) within [-2, 2]
    assert float((t.abs() < 1).float().mean()) == pytest.approx(0.6827 / 0.9545, abs=0.01)


def test_samples_depend_on_weights_n_and_seed_only():
    system = gan(noise="truncated")
    a = system.sample(9, seed=4)
    torch.manual_seed(99)
    assert torch.equal(a, system.sample(9, seed=4))
    assert not torch.equal(a, system.sample(9, seed=5))
    assert system.training
    assert a.shape == (9, 1, 4, 4)


def test_the_average_starts_where_it_is_told():
    judge = referee(gan(), ema_decay=0.999, ema_start=40)
    for played in range(1, 57):
        judge.play()
        if played % 8 == 0:  # the average looks at every 8th round
            live, shown = judge.system.G[0].bias, judge.ema_system.G[0].bias
            assert torch.equal(live, shown) == (played <= 40), played


def test_samples_of_networks_that_stay_random_depend_on_their_seed_only():
    from sparring.networks.noise import Dropout

    system = gan()
    system.G.insert(2, Dropout(0.5, active_in_eval=True))
    torch.manual_seed(1)
    first, state_before = system.sample(4, seed=3), torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(system.sample(4, seed=3), first)
    torch.manual_seed(1)
    system.sample(4, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state_before)
