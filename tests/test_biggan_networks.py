"""BigGAN's networks: exact parameter counts, spectral norm, attention, hierarchical codes, projection, standing BN."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sparring.data.dataset import Spec
from sparring.errors import SparringError
from sparring.losses import gradient_penalty
from sparring.networks import biggan, biggan_deep
from sparring.networks.attention import NonLocal
from sparring.networks.spectral import SpectralConv2d, SpectralEmbedding, SpectralLinear, SpectralNorm
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.systems.biggan import BigGAN, standing_statistics

CLASSES = 5
ATTENTION_AT_256 = 81_921  # weights of a non-local block on 256 channels


def count(network):
    return sum(p.numel() for p in network.parameters())


def small(size=32, channels=3, *, latent_dim=60, embed_dim=6, attention=0, width=4):
    """Both networks, narrow: the tables decide all the rest. G is in evaluation mode, where rows do not mix."""
    torch.manual_seed(3)
    G = biggan.Generator(latent_dim, width, channels, size, classes=CLASSES, embed_dim=embed_dim, attention=attention)
    return G.eval(), biggan.Discriminator(width, channels, size, classes=CLASSES, attention=attention)


def small_deep(size=32, channels=3, *, attention=0, width=4):
    torch.manual_seed(3)
    G = biggan_deep.Generator(60, width, channels, size, classes=CLASSES, embed_dim=6, attention=attention)
    return G.eval(), biggan_deep.Discriminator(width, channels, size, classes=CLASSES, attention=attention)


def codes(latent_dim=60, n=4):
    g = torch.Generator().manual_seed(5)
    return torch.randn(n, latent_dim, generator=g), torch.arange(n) % CLASSES


def images(size=32, channels=3, n=4):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(6)) * 2 - 1


# Counts: by running the authors' PyTorch code with the same settings.


@pytest.mark.parametrize(
    ("latent_dim", "width", "size", "classes", "embed_dim", "attention", "g", "d"),
    [
        (120, 96, 64, 1000, 128, 64, 70_239_108, 45_500_449),
        (120, 96, 128, 1000, 128, 64, 70_433_988, 87_982_370),
        (140, 96, 256, 1000, 128, 64, 82_235_844, 99_225_890),
        (120, 64, 128, 1000, 128, 64, 31_978_628, 39_448_258),
        (100, 64, 64, 1000, 128, 32, 31_866_116, 20_571_842),
        (128, 64, 128, 1000, None, 64, 42_017_412, 39_448_258),
        (128, 64, 32, 10, None, 0, 4_304_387, 4_207_361),
        (128, 64, 32, 10, 128, 0, 4_373_251, 4_207_361),
        # That code puts attention after all four of D's blocks, for its table calls 8x8 maps 16x16; here after one.
        (80, 64, 32, 10, 128, 16, 4_369_156, 4_535_045 - 3 * ATTENTION_AT_256),
    ],
)
def test_parameter_counts(latent_dim, width, size, classes, embed_dim, attention, g, d):
    with torch.device("meta"):
        G = biggan.Generator(latent_dim, width, 3, size, classes=classes, embed_dim=embed_dim, attention=attention)
        D = biggan.Discriminator(width, 3, size, classes=classes, attention=attention)
    assert (count(G), count(D)) == (g, d)


@pytest.mark.parametrize(
    ("size", "classes", "g", "d"),
    [
        (32, 10, 7_435_267, 2_581_249),
        (64, 1000, 49_583_876, 20_869_633),
        (128, 1000, 50_244_484, 34_590_210),
        (256, 1000, 55_736_708, 38_247_426),
    ],
)
def test_parameter_counts_of_the_deep_networks(size, classes, g, d):
    attention = 64 if size >= 64 else 0
    with torch.device("meta"):
        G = biggan_deep.Generator(128, 128, 3, size, classes=classes, attention=attention)
        D = biggan_deep.Discriminator(128, 3, size, classes=classes, attention=attention)
        block = NonLocal(256)
    assert (count(G), count(D)) == (g, d)
    assert count(block) == ATTENTION_AT_256


# Shapes and what is refused.


@pytest.mark.parametrize("make", [small, small_deep])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 64, 128])
def test_shapes(make, size, channels):
    G, D = make(size, channels)
    z, y = codes(n=2)
    fake = G(z, y)
    assert fake.shape == (2, channels, size, size)
    assert float(fake.detach().abs().max()) <= 1
    assert D(fake, y).shape == (2, 1)


@pytest.mark.parametrize("networks", [biggan, biggan_deep])
def test_shapes_at_256(networks):
    G = networks.Generator(14, 2, 3, 256, classes=CLASSES, embed_dim=6).eval()
    D = networks.Discriminator(2, 3, 256, classes=CLASSES)
    z, y = codes(14, n=1)
    with torch.no_grad():
        fake = G(z, y)
        assert fake.shape == (1, 3, 256, 256)
        assert D(fake, y).shape == (1, 1)


@pytest.mark.parametrize("make", [small, small_deep])
@pytest.mark.parametrize("size", [28, 32, 64])
def test_attention_follows_the_one_block_that_ends_with_its_size(make, size):
    at = size // 2
    for network in make(size, attention=at, width=8):
        seen = []
        layers = [m for m in network.modules() if isinstance(m, NonLocal)]
        for layer in layers:
            layer.register_forward_hook(lambda layer, inputs, output, seen=seen: seen.append(output.shape[-1]))
        if isinstance(network, biggan.Generator | biggan_deep.Generator):
            network(*codes())
        else:
            network(images(size), codes()[1])
        assert seen == [at]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: biggan.Generator(120, 4, 3, 48, classes=5), "not 48: give --size 32"),
        (lambda: biggan_deep.Discriminator(4, 3, 48, classes=5), "not 48: give --size 32"),
        (lambda: biggan.Generator(128, 4, 3, 64, classes=5), "128 is not a multiple of 5 .*--latent-dim 125 or 130"),
        (lambda: biggan.Generator(3, 4, 3, 64, classes=5), "3 is not a multiple of 5 .*--latent-dim 5$"),
        (lambda: biggan.Generator(120, 4, 3, 32, classes=5, attention=64), r"--attention from \(0, 8, 16, 32\)"),
        (lambda: biggan.Discriminator(4, 3, 28, classes=5, attention=7), r"--attention from \(0, 14, 28\)"),
        (lambda: biggan.Discriminator(4, 3, 64, classes=5, attention=32), "needs at least 8 channels.*--width"),
        (lambda: biggan_deep.Generator(20, 1, 3, 128, classes=5), "--width 1 leaves .* 2 or more"),
        (lambda: biggan_deep.Discriminator(1, 3, 64, classes=5), "--width 1 leaves .* 2 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(make, words):
    with pytest.raises(SparringError, match=words):
        make()


def test_without_shared_embedding_any_latent_is_fine():
    assert small(64, latent_dim=13, embed_dim=None)[0](*codes(13)).shape == (4, 3, 64, 64)


# Classes.


@pytest.mark.parametrize("embed_dim", [6, None])
def test_the_class_changes_the_image_and_embeddings_can_be_mixed(embed_dim):
    G, _ = small(embed_dim=embed_dim)
    z, y = codes()
    one, other = G(z, y), G(z, (y + 1) % CLASSES)
    assert float((one - other).detach().abs().mean()) > 1e-3
    torch.testing.assert_close(G.from_embedding(z, G.embed(y)), one)
    assert G.embed(y).shape == (4, embed_dim or CLASSES)
    joint_batch = G.from_embedding(z, G.embed(y).lerp(G.embed((y + 1) % CLASSES), 0.5))
    assert float((joint_batch - one).detach().abs().mean()) > 1e-4
    assert float((joint_batch - other).detach().abs().mean()) > 1e-4


def test_deep_class_and_code_change_the_image():
    G, _ = small_deep()
    z, y = codes()
    one = G(z, y)
    torch.testing.assert_close(G.from_embedding(z, G.embed(y)), one)
    assert float((one - G(z, (y + 1) % CLASSES)).detach().abs().mean()) > 1e-3
    assert float((one - G(-z, y)).detach().abs().mean()) > 1e-3


@pytest.mark.parametrize("make", [small, small_deep])
def test_the_class_changes_the_score(make):
    _, D = make()
    x, (_, y) = images(), codes()
    assert float((D.eval()(x, y) - D(x, (y + 1) % CLASSES)).detach().abs().min()) > 1e-3


def test_the_orthogonal_penalty_acts_on_the_rows_of_classes():
    """In the authors' code a norm's own gains and biases are embeddings: a row for each class."""
    G, D = small(embed_dim=None)
    system = BigGAN(G, D, latent_dim=60, classes=CLASSES)
    tables = [w for w in system.orthogonal_weights() if w.ndim == 2 and w.shape[0] == CLASSES]
    assert [w.shape for w in tables] == [(CLASSES, 16)] * 12  # three blocks, two norms, a gain and a bias


def test_without_shared_embedding_each_class_has_its_own_gains_and_biases():
    G, _ = small(embed_dim=None)
    norm = G.blocks[0].norm1
    x, y = torch.randn(4, 16, 8, 8), torch.tensor([0, 3, 3, 1])
    for values in (norm.norm.running_mean, norm.gain.weight, norm.bias.weight):
        nn.init.normal_(values)
    nn.init.uniform_(norm.norm.running_var, 0.5, 2)
    gains, biases = 1 + norm.gain.weight, norm.bias.weight  # (classes, channels)
    standard = (x - norm.norm.running_mean[:, None, None]) / (norm.norm.running_var[:, None, None] + 1e-5).sqrt()
    expected = standard * gains[y][:, :, None, None] + biases[y][:, :, None, None]
    torch.testing.assert_close(norm(x, G.embed(y)), expected)


@pytest.mark.parametrize("chunk", range(4))
def test_a_chunk_of_the_code_reaches_its_block_only(chunk):
    G, _ = small()
    changed = []
    for layer in (G.linear, *(norm for block in G.blocks for norm in (block.norm1.gain, block.norm2.bias))):
        layer.register_forward_pre_hook(lambda layer, inputs: changed.append(inputs[0]))
    z, y = codes()
    other = z.clone()
    other[:, chunk * 15 : chunk * 15 + 15] += 1
    G(z, y)
    before, changed[:] = list(changed), []
    G(other, y)
    differ = [not torch.equal(a, b) for a, b in zip(before, changed, strict=True)]
    first, blocks = differ[0], [tuple(differ[i : i + 2]) for i in (1, 3, 5)]
    assert first == (chunk == 0)
    assert blocks == [(chunk == i, chunk == i) for i in (1, 2, 3)]


# The blocks, written out in the order of the paper.


def written_out(block, x, condition):
    """BigGAN's generator block, its shortcut convolved after the doubling."""
    h = F.interpolate(F.relu(block.norm1(x, condition)), scale_factor=2)
    h = block.conv2(F.relu(block.norm2(block.conv1(h), condition)))
    return h + block.shortcut(F.interpolate(x, scale_factor=2))


def test_the_order_of_shortcut_and_resizing_does_not_matter():
    G, D = small()
    x, condition = torch.randn(4, 16, 8, 8), torch.randn(4, 21)
    torch.testing.assert_close(G.blocks[1](x, condition), written_out(G.blocks[1], x, condition))
    block = D.eval().blocks[1]
    h = block.conv2(F.relu(block.conv1(F.relu(x))))
    torch.testing.assert_close(block(x), F.avg_pool2d(h, 2) + F.avg_pool2d(block.shortcut(x), 2))
    first, x = D.blocks[0], images()
    h = first.conv2(F.relu(first.conv1(x)))
    torch.testing.assert_close(first(x), F.avg_pool2d(h, 2) + first.shortcut(F.avg_pool2d(x, 2)))


@pytest.mark.parametrize("which", [0, 1])
def test_a_deep_block_is_written_out(which):
    """A block that keeps the number of channels, and one that changes it (and the size)."""
    G, D = small_deep(64)
    for norm in (m for m in G.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
    block = G.blocks[2 + which]  # 64 channels to 64 or 32
    x, condition = torch.randn(2, 64, 4, 4), torch.randn(2, 66)
    h = x
    convolutions = (block.narrow, block.conv1, block.conv2, block.widen)
    for i, convolution in enumerate(convolutions):
        norm = getattr(block, f"norm{i + 1}")
        h = norm(h, condition).clamp(min=0)
        if i == 1 and which:
            h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        h = convolution(h)
    short = x[:, :32].repeat_interleave(2, 2).repeat_interleave(2, 3) if which else x
    torch.testing.assert_close(block(x, condition), h + short)

    block = D.eval().blocks[2 - which]  # 8 channels to 8, or 4 to 8
    x = torch.randn(2, 4 if which else 8, 4, 4)
    h = block.conv2(block.conv1(block.narrow(x.clamp(min=0)).clamp(min=0)).clamp(min=0)).clamp(min=0)
    short = x
    if which:
        h, short = (t.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5)) for t in (h, x))
        short = torch.cat([short, block.append(short)], 1)
    torch.testing.assert_close(block(x), block.widen(h) + short)


def test_projection_head_is_written_out():
    head = biggan.ProjectionHead(6, CLASSES).eval()
    nn.init.normal_(head.linear.bias)
    x, y = torch.randn(3, 6, 4, 4), torch.tensor([4, 0, 4])
    w = head.linear.weight / torch.linalg.matrix_norm(head.linear.weight, 2)
    for _ in range(200):
        head.train()(x, y)
    table = head.embedding.weight / torch.linalg.matrix_norm(head.embedding.weight, 2)
    scores = head.eval()(x, y)
    for i in range(3):
        h = x[i].clamp(min=0).sum((1, 2))
        expected = (w[0] * h).sum() + head.linear.bias[0] + (table[y[i]] * h).sum()
        torch.testing.assert_close(scores[i, 0], expected)


# Spectral norm.


@pytest.mark.parametrize(
    ("make", "like"),
    [
        (lambda: SpectralConv2d(6, 10, 3), torch.randn(1, 6, 5, 5)),
        (lambda: SpectralConv2d(10, 4, 1, bias=False), torch.randn(1, 10, 5, 5)),
        (lambda: SpectralLinear(7, 30), torch.randn(1, 7)),
        (lambda: SpectralEmbedding(12, 5), torch.tensor([3])),
    ],
)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_largest_singular_value_becomes_one(make, like, memory):
    torch.manual_seed(0)
    layer = make().to(memory_format=memory)
    nn.init.normal_(layer.weight)
    true = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    for _ in range(300):
        layer(like)
    sigma = torch.linalg.svdvals(layer.spectral(layer.weight).detach().flatten(1))[0]
    assert float(sigma) == pytest.approx(1, abs=1e-3)
    assert float(true) > 2
    raw = layer.weight.detach() / true
    if isinstance(layer, SpectralConv2d):
        expected = F.conv2d(like, raw, layer.bias, padding=layer.kernel_size[0] // 2)
    elif isinstance(layer, SpectralLinear):
        expected = F.linear(like, raw, layer.bias)
    else:
        expected = raw[like]
    torch.testing.assert_close(layer(like), expected, rtol=1e-3, atol=1e-3)


def test_one_pass_is_one_step_and_evaluation_keeps_none():
    norm, weight = SpectralNorm(4), torch.randn(4, 9)
    start = norm.u.clone()
    torch.testing.assert_close(norm.eval()(weight), norm(weight))
    assert torch.equal(norm.u, start)
    v = weight.T @ start
    u = weight @ v
    sigma = u.norm() / v.norm()
    torch.testing.assert_close(norm.train()(weight), weight / sigma)
    torch.testing.assert_close(norm.u, u / u.norm())


def test_sigma_does_not_suffer_from_a_mean_of_vectors():
    norm, weight = SpectralNorm(4), torch.randn(4, 9)
    for _ in range(100):
        norm(weight)
    expected = norm.eval()(weight)
    norm.u *= 0.01
    torch.testing.assert_close(norm(weight), expected)


def test_the_gradient_is_that_of_the_true_norm():
    norm, weight = SpectralNorm(4).double(), torch.randn(4, 9, dtype=torch.double, requires_grad=True)
    for _ in range(300):
        norm(weight)
    aim = torch.randn(4, 9, dtype=torch.double)
    (ours,) = torch.autograd.grad((norm(weight) * aim).sum(), weight)
    (true,) = torch.autograd.grad((weight / torch.linalg.matrix_norm(weight, 2) * aim).sum(), weight)
    torch.testing.assert_close(ours, true)


def test_sigma_is_found_in_float32_under_autocast(monkeypatch):
    norm, weight, plain = SpectralNorm(4), torch.randn(4, 9), torch.mv
    enabled = []
    monkeypatch.setattr(torch, "mv", lambda *given: enabled.append(torch.is_autocast_enabled("cpu")) or plain(*given))
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(weight).dtype == torch.float32
    assert enabled == [False, False]  # CPUs multiply vectors in float32 anyway, GPUs would not


def test_every_weight_is_normalized_but_the_generators_embedding():
    for G, D in (small(attention=16), small_deep(attention=16)):
        for network in (G, D):
            plain = [
                name
                for name, m in network.named_modules()
                if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding) and not hasattr(m, "spectral")
            ]
            assert plain == (["embedding"] if network is G else [])


def test_weights_start_orthogonal():
    for network in (*small(attention=16), *small_deep(attention=16)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
                torch.testing.assert_close(values, torch.ones_like(values))


# Attention.


def test_attention_is_the_identity_at_first():
    layer, x = NonLocal(16), torch.randn(2, 16, 6, 6)
    assert torch.equal(layer(x), x)
    layer(x).sum().backward()
    assert float(layer.gamma.grad.abs()) > 0


def test_attention_agrees_with_a_second_implementation():
    torch.manual_seed(0)
    layer, x = NonLocal(16).eval(), torch.randn(2, 16, 6, 4)
    nn.init.ones_(layer.gamma)
    theta, phi, g, o = (c.spectral(c.weight)[:, :, 0, 0].detach() for c in (layer.theta, layer.phi, layer.g, layer.o))
    assert (theta.shape, phi.shape, g.shape, o.shape) == ((2, 16), (2, 16), (8, 16), (16, 8))
    expected = torch.empty_like(x)
    for b in range(2):
        places = [(i, j) for i in range(0, 6, 2) for j in range(0, 4, 2)]
        squares = [x[b, :, i : i + 2, j : j + 2].flatten(1) for i, j in places]
        keys = [(phi @ square).amax(1) for square in squares]
        values = [(g @ square).amax(1) for square in squares]
        for i in range(6):
            for j in range(4):
                fits = torch.stack([(theta @ x[b, :, i, j]).dot(key) for key in keys]).exp()
                seen = sum(fit * value for fit, value in zip(fits / fits.sum(), values, strict=True))
                expected[b, :, i, j] = x[b, :, i, j] + o @ seen
    torch.testing.assert_close(layer(x), expected)


# Standing statistics.


def test_standing_statistics_are_means_over_the_passes():
    G, _ = small()
    G.train()(*codes())  # running statistics to be forgotten
    G.eval().blocks[0].train()  # a mixture of modes is kept
    before = copy.deepcopy(G)
    batches = [codes(n=n) for n in (8, 4, 4)]
    norm = G.blocks[0].norm1.norm
    means, variances = [], []

    def watch(layer, inputs):
        values = inputs[0].transpose(0, 1).flatten(1)
        means.append(values.mean(1))
        variances.append(values.var(1))

    hook = norm.register_forward_pre_hook(watch)
    queue = iter(batches)
    standing_statistics(G, lambda: G(*next(queue)), passes=3)
    hook.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))

    assert [m.training for m in G.modules()] == [m.training for m in before.modules()]
    assert norm.momentum == before.blocks[0].norm1.norm.momentum
    old, new = before.state_dict(), G.state_dict()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert all(torch.equal(old[k], new[k]) for k in old if not k.endswith(statistics))
    assert all(not torch.equal(old[k], new[k]) for k in old if k.endswith(statistics))


def test_standing_statistics_put_everything_back_when_a_pass_fails():
    G, _ = small()

    def fail():
        raise RuntimeError("no batch")

    with pytest.raises(RuntimeError, match="no batch"):
        standing_statistics(G.train(), fail, passes=2)
    assert all(m.training for m in G.modules())
    assert all(m.momentum == 0.1 for m in G.modules() if isinstance(m, nn.BatchNorm2d))


# What the trainer asks of every network.


@pytest.mark.parametrize("make", [small, small_deep])
def test_bf16_autocast_is_close_to_float32(make):
    G, D = make(attention=16)
    for network in (G.train(), D):
        for layer in network.modules():
            if isinstance(layer, NonLocal):
                nn.init.ones_(layer.gamma)
    z, y = codes(n=8)
    full = G(z, y)
    with torch.autocast("cpu", torch.bfloat16):
        half = G(z, y)
        score = D(half, y)
    assert half.dtype == torch.bfloat16
    assert float((half.float() - full).detach().abs().mean()) < 0.03
    torch.testing.assert_close(score.float(), D(full, y), rtol=0.1, atol=0.5)
    score.float().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in (*G.parameters(), *D.parameters()))
    assert all(m.u.dtype == torch.float32 for m in G.modules() if isinstance(m, SpectralNorm))


@pytest.mark.parametrize("make", [small, small_deep])
def test_a_penalty_on_the_slope_has_its_second_derivative(make):
    _, D = make(attention=16)
    for layer in D.double().eval().modules():
        if isinstance(layer, NonLocal):
            nn.init.ones_(layer.gamma)
    x, (_, y) = images(n=2).double(), codes(n=2)
    ours = gradient_penalty(lambda x: D(x, y), x)
    ours.backward()
    got = [p.grad.clone() for p in D.parameters() if p.grad is not None]
    x.requires_grad_()
    D.zero_grad()
    (slope,) = torch.autograd.grad(D(x, y).sum(), x, create_graph=True)
    slope.square().sum((1, 2, 3)).mean().backward()
    expected = [p.grad for p in D.parameters() if p.grad is not None]
    torch.testing.assert_close(got, expected)
    assert max(float(g.abs().max()) for g in got) > 0


@pytest.mark.parametrize("make", [small, small_deep])
def test_a_penalty_in_training_mode_takes_steps_of_the_power_iteration(make):
    _, D = make()
    _, y = codes()
    before = D.ending.embedding.spectral.u.clone()
    (gradient_penalty(lambda x: D(x, y), images()) + D(images(), y).mean()).backward()
    assert not torch.equal(D.ending.embedding.spectral.u, before)


@pytest.mark.parametrize("make", [small, small_deep])
def test_averaged_copies_and_saved_weights_make_the_same_images(make):
    G, _ = make(attention=16)
    z, y = codes()
    G.train()(z, y)
    averaged = AveragedModel(G, use_buffers=True)
    averaged.update_parameters(G)
    expected = G.eval()(z, y)
    torch.testing.assert_close(averaged.module.eval()(z, y), expected)

    torch.manual_seed(99)
    other = type(G)(z.shape[1], 4, 3, 32, classes=CLASSES, embed_dim=6, attention=16).eval()
    assert not torch.equal(other(z, y), expected)
    other.load_state_dict(load(save(G.state_dict())))
    torch.testing.assert_close(other(z, y), expected)


@pytest.mark.parametrize("name", ["biggan", "biggan-deep"])
def test_the_recipes_own_arguments_fit_every_size_that_is_advertised(name):
    function = load_recipe(name, RECIPES)
    for size, expected in {28: 0, 32: 0, 64: 1, 128: 2, 256: 2}.items():
        said = {"latent_dim": 140} if size == 256 and name == "biggan" else {}  # as the help says
        with torch.device("meta"):
            made = build_recipe(function, Spec(3, size, size, ("a", "b")), resolve_arguments(function, said))
        blocks = [module for module in made.system.modules() if isinstance(module, NonLocal)]
        assert len(blocks) == expected, size
