"""Molecules: files become fingerprints and numbers or one line says why not; the game of Kadurin et al. 2017."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers import one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import MACCSkeys
from torch import nn
from toys import referee

from sparring import priors
from sparring.cli import main
from sparring.data import Dataset, Spec, load
from sparring.data.feed import Feed
from sparring.data.molecules import (
    KEYS,
    SPEC,
    fingerprints,
    from_file,
    nci,
    synthetic_growth,
    tanimoto,
    to_image,
    to_keys,
)
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.losses import game
from sparring.networks import molecular_aae
from sparring.recipes import RECIPES
from sparring.recipes.molecular_aae import molecular_aae as recipe
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.run import open_system
from sparring.seeds import make_generator
from sparring.systems.molecular_aae import MolecularAAE
from sparring.training import resume, train

RECIPE = "sparring.recipes.molecular_aae:molecular_aae"
SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1", "c1ccncc1", "CCCl", "OCCO", "CC#N", "CS(C)=O"]


@pytest.fixture(scope="module")
def open_molecules():
    return nci()


def file_of(folder, lines, name="some.smi"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# Fingerprints.


def test_each_cell_is_the_key_of_its_number(open_molecules):
    """Against RDKit's table of the keys' patterns: a key is there when its pattern is found more often than it says."""
    path = Chem.RDConfig.RDDataDir + "/NCI/first_5K.smi"
    with open(path) as file:
        smiles = [next(file).split("\t")[0] for _ in range(100)]
    with rdBase.BlockLogs():
        read = [Chem.MolFromSmiles(text) for text in smiles]
    images, bad = fingerprints(smiles)
    assert not bad
    assert images.dtype == torch.uint8
    assert images.shape == (100, 1, 13, 13)
    assert set(images.unique().tolist()) == {0, 255}
    cells = images.flatten(1)
    patterns = {key: (Chem.MolFromSmarts(p), n) for key, (p, n) in MACCSkeys.smartsPatts.items() if p != "?"}
    assert len(patterns) > 160
    for cell, molecule in zip(cells, read, strict=True):
        for key, (pattern, more_than) in patterns.items():
            found = len(molecule.GetSubstructMatches(pattern, uniquify=True)) > more_than
            assert bool(cell[key - 1]) == found, (Chem.MolToSmiles(molecule), key)
    assert torch.equal(open_molecules.images[:100], images)


def test_the_last_three_cells_are_never_used(open_molecules):
    assert int(open_molecules.images.flatten(1)[:, KEYS:].max()) == 0
    used = open_molecules.images.flatten(1)[:, :KEYS].amax(0)
    assert int((used > 0).sum()) == 164  # no isotopes and no elements outside the table among these molecules


def test_keys_and_images_are_inverse(open_molecules):
    images = to_float(open_molecules.images[:50])
    keys = to_keys(images)
    assert keys.shape == (50, KEYS)
    assert set(keys.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(to_image(keys), images)
    assert torch.equal(to_keys(to_image(torch.full((2, KEYS), 0.25))), torch.full((2, KEYS), 0.25))


def test_tanimoto_agrees_with_rdkit():
    images, _ = fingerprints(SMILES)
    keys = to_keys(to_float(images)) > 0.5
    theirs = [MACCSkeys.GenMACCSKeys(Chem.MolFromSmiles(text)) for text in SMILES]
    expected = torch.tensor([[DataStructs.TanimotoSimilarity(a, b) for b in theirs] for a in theirs[:4]])
    torch.testing.assert_close(tanimoto(keys[:4], keys), expected.float())
    nothing = torch.zeros(1, KEYS, dtype=torch.bool)
    assert float(tanimoto(nothing, nothing)) == 0


# Files.


def test_the_open_molecules_come_with_rdkit(open_molecules, capfd):
    data = load("nci")
    assert data.spec == SPEC
    assert (len(data), len(data.held_out), len(open_molecules)) == (4492, 499, 4991)
    assert data.labels is None
    assert data.values.shape == (4492, 2)
    assert data.values.dtype == torch.float32
    skipped, concentration, growth = data.notes
    assert skipped.startswith("skipped 8 of 4,999 molecules: line 2098 (Explicit valence")
    assert concentration.startswith("synthetic concentration")
    assert growth.startswith("synthetic growth")
    assert capfd.readouterr() == ("", "")  # RDKit itself would have complained about the eight


GOOD = {
    "tabs.smi": ["CCO\tan alcohol\t-5.5\t0.25", "c1ccccc1\tbenzene\t-4\t-1"],
    "spaces.smi": ["CCO alcohol -5.5 0.25", "", "# a remark", "c1ccccc1 benzene -4 -1"],
    "header.smi": ["growth SMILES concentration", "0.25 CCO -5.5", "-1 c1ccccc1 -4"],
    "plain.csv": ["smiles,name,concentration,growth", '"CCO","1,2-nothing",-5.5,.25', "c1ccccc1,,-4,-1"],
    "upper.CSV": ["\ufeffGrowth,Concentration,SMILES", "0.25,-5.5,CCO", "-1, -4, c1ccccc1"],
}


@pytest.mark.parametrize("name", GOOD)
def test_measured_numbers_are_read_and_kept(tmp_path, name):
    data = load(file_of(tmp_path, GOOD[name], name), held_out=0)
    assert torch.equal(data.values, torch.tensor([[-5.5, 0.25], [-4.0, -1.0]]))
    assert torch.equal(data.images, fingerprints(["CCO", "c1ccccc1"])[0])
    assert data.name == name.split(".")[0]
    assert not any("synthetic" in note for note in data.notes)


def test_what_a_file_does_not_have_is_synthetic_and_said_to_be(tmp_path):
    bare = from_file(file_of(tmp_path, SMILES))
    named = [f"{text} acid {i}" if i < 3 else f"{text} a name of {i}" for i, text in enumerate(SMILES)]
    again = from_file(file_of(tmp_path, named, "named.smi"))
    assert [note.split(":")[0] for note in bare.notes] == ["synthetic concentration", "synthetic growth"]
    assert torch.equal(bare.values, again.values)
    half = from_file(file_of(tmp_path, ["smiles,mass,concentration", *[f"{text},1,-6" for text in SMILES]], "h.csv"))
    assert half.notes[0] == "ignored the columns mass"
    assert [note.split(":")[0] for note in half.notes[1:]] == ["synthetic growth"]
    assert set(half.values[:, 0].tolist()) == {-6.0}
    for data in (bare, half):
        keys = to_keys(to_float(data.images)) > 0.5
        torch.testing.assert_close(data.values[:, 1], synthetic_growth(keys, data.values[:, 0]))


def test_synthetic_growth_is_what_its_note_says(open_molecules):
    """Some points by hand, and the whole of it from the text of the note."""
    keys = torch.zeros(4, KEYS, dtype=torch.bool)
    keys[1, 125 - 1] = keys[2, 139 - 1] = True
    keys[3, [125 - 1, 121 - 1, 103 - 1, 139 - 1]] = True
    halves = torch.tensor([-4.8, -6.0, -4.2, -6.8])
    torch.testing.assert_close(synthetic_growth(keys, halves), torch.zeros(4), atol=1e-6, rtol=0)
    tenfold = torch.full((4,), 1 - 2 / (1 + 0.1))  # one unit above: ten times the dose
    torch.testing.assert_close(synthetic_growth(keys, halves + 1), tenfold, atol=1e-5, rtol=0)
    torch.testing.assert_close(synthetic_growth(keys, halves - 1), -tenfold, atol=1e-5, rtol=0)

    note = next(note for note in open_molecules.notes if note.startswith("synthetic growth"))
    first, *terms = note.split("h = ")[1].split(",")[0].replace("- ", "-").replace("+ ", "+").split()
    shifts = {int(key[1:]): float(shift) for shift, key in zip(terms[::2], terms[1::2], strict=True)}
    assert len(shifts) == 4
    for i in range(0, 4991, 500):
        cells = open_molecules.images[i].flatten() > 0
        h = float(first) + sum(shift for key, shift in shifts.items() if cells[key - 1])
        concentration, growth = open_molecules.values[i].tolist()
        assert growth == pytest.approx(1 - 2 / (1 + 10 ** (h - concentration)), abs=1e-4)


def test_synthetic_concentrations_are_like_the_papers(open_molecules):
    drawn = open_molecules.values[:, 0]
    assert float(drawn.mean()) == pytest.approx(-5.82, abs=4 * 1.68 / math.sqrt(4991))
    assert float(drawn.std()) == pytest.approx(1.68, abs=0.06)


def test_bad_molecules_are_named_and_skipped_and_numbers_stay_with_theirs(tmp_path):
    good = [f"{'C' * (i % 30 + 1)}O\tname\t{-4 - i / 1000}\t{i / 1000}" for i in range(396)]
    bad = ["C1CC\tno ring\t-5\t0", "CC(C)(C)(C)C\tfive bonds\t-5\t0", "CCO\tword\tfive\t0", "CCO\tpercent\t-5\t80"]
    lines = [good[0], bad[0], *good[1:200], bad[1], *good[200:], bad[2], "", bad[3]]
    data = load(file_of(tmp_path, lines), held_out=0)
    assert len(data) == 396
    torch.testing.assert_close(data.values[:, 1], torch.arange(396) / 1000)
    assert torch.equal(data.images, fingerprints([line.split("\t")[0] for line in good])[0])
    (note,) = data.notes
    assert note == (
        "skipped 4 of 400 molecules: line 2 ('C1CC' is not a valid SMILES), line 202 (Explicit valence for atom # 1 C, "
        "5, is greater than permitted), line 399 (concentration 'five' is not a number), "
        "line 401 (growth 80 is not a fraction from -1 to 1: divide percent by 100)"
    )


def test_more_than_one_percent_bad_molecules_stop(tmp_path, capfd):
    good = [f"{'C' * (i % 30 + 1)}O" for i in range(396)]
    assert len(load(file_of(tmp_path, [*good, *["xyz"] * 4]), held_out=0)) == 396
    message = one_line(lambda: load(file_of(tmp_path, [*["xyz"] * 12, *good])), "12 of 408 molecules", "more than 1%")
    assert "line 10 ('xyz' is not a valid SMILES) and 2 more; repair or remove them" in message
    assert "line 11" not in message
    assert capfd.readouterr() == ("", "")


def test_long_and_empty_molecules_are_refused_quickly():
    images, bad = fingerprints(["C" * 100_000, "", "CCO"])
    assert len(images) == 1
    assert bad == {0: "100,000 characters, more than 5,000", 1: "no atoms"}


REFUSED = {
    "nothing.smi": ([], "no molecules"),
    "remarks.smi": (["# nothing", ""], "no molecules"),
    "header.csv": (["smiles,growth"], "only a header"),
    "nameless.csv": (["CCO,-5,0.3", "CC,-5,0.3"], "must name a column 'smiles'"),
    "labels.csv": (["file,label", "a.png,1"], "table with --labels-from"),
    "wide.smi": (["CCO a -5 0.3 more", "CC b -5 0.3 more"], "line 1 (5 columns instead of 4)"),
    "twice.csv": (["smiles,growth,growth", "CCO,1,1"], "two columns 'growth'"),
    "unplaced.csv": (["smiles,growth", "CCO,1"], "growth but no concentration"),
    "open.csv": (["smiles,name", '"CCO,name'], "cannot read"),
    "ragged.smi": (["CCO a -5 0.3", "CCO a -5"], "line 2 (3 columns instead of 4)"),
    "molar.smi": (["CCO a 0.00001 0.3", "CC b 0.00001 0.3"], "concentration 1e-05 is not a log10 of mol/l"),
    "infinite.smi": (["CCO a -inf 0.3", "CC b nan 0.3"], "concentration -inf is not"),
    "code.smi": (["CCO NSC 123", "CC NSC 124"], "concentration 123 is not a log10 of mol/l"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_molecules_are_refused_in_one_line(tmp_path, name):
    lines, words = REFUSED[name]
    one_line(lambda: load(file_of(tmp_path, lines, name)), words, name)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "bytes.smi").write_bytes(b"\xff\xfe\x00CCO\n")
    one_line(lambda: load(tmp_path / "bytes.smi"), "cannot read", "bytes.smi")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="CNOcn1()[]=#@+-.%*\t ,\"'\0", max_size=30), max_size=5), st.booleans())
def test_any_lines_are_read_or_refused(tmp_path_factory, lines, is_csv):
    name = "fuzz.csv" if is_csv else "fuzz.smi"
    path = file_of(tmp_path_factory.getbasetemp(), [*(["smiles,name"] if is_csv else []), *lines], name)
    try:
        data = from_file(path)
    except SparringError as error:
        message = str(error)
        assert "\n" not in message
    else:
        assert len(data.images) == len(data.values) > 0


def test_without_rdkit_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one_line(lambda: load("nci"), "pip install 'sparring[molecules]'")
    one_line(lambda: load(file_of(tmp_path, SMILES)), "pip install 'sparring[molecules]'")


def test_fingerprints_are_not_scaled(tmp_path):
    path = file_of(tmp_path, SMILES)
    assert load(path, size=13, channels=1).spec == SPEC
    one_line(lambda: load(path, size=28), "1 x 13 x 13", "1 x 28 x 28", "recipe for molecules")
    one_line(lambda: load(path, channels=3), "3 x 13 x 13")


# Values in data and feed.


def numbered(count=40):
    """Images whose pixels are their number, with values that say it too."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Dataset("numbered", pixels, values=torch.stack([torch.arange(count), -torch.arange(count)], 1).float())


def test_values_stay_with_their_images():
    data = numbered().hold_out(0.25)
    for part in (data, data.held_out, data.rows(torch.tensor([3, 1])), data.rows(torch.tensor([0, 1])).repeated(5)):
        assert torch.equal(part.values[:, 0], part.images[:, 0, 0, 0].float())
    assert (len(data), len(data.held_out.values)) == (30, 10)


def test_the_feed_gives_values_in_the_place_of_labels():
    one = Feed({"train": numbered()}, 8, seed=0, dtype=torch.float64)
    for _ in range(7):
        x, values = one("train")
        assert values.shape == (8, 2)
        assert values.dtype == torch.float64
        torch.testing.assert_close((x[:, 0, 0, 0] + 1) * 127.5, values[:, 0])
        assert torch.equal(values[:, 1], -values[:, 0])


def test_other_values_are_other_data():
    data = numbered()
    assert data.fingerprint != replace(data, values=data.values + 1).fingerprint
    assert data.fingerprint != replace(data, values=None).fingerprint
    assert data.fingerprint == numbered().fingerprint


# Networks.


def weights(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    assert weights(molecular_aae.trunk()) + weights(molecular_aae.head(4)) == 30_020
    assert weights(molecular_aae.head(1)) == 65
    assert weights(molecular_aae.decoder(4)) == 30_247
    assert weights(molecular_aae.discriminator(4)) == 37


def test_the_trunks_norm_is_of_the_batch_with_a_shift_behind():
    torch.manual_seed(0)
    trunk, v = molecular_aae.trunk(), torch.rand(20, 167)
    trunk[1].bias.data.normal_()
    h = v @ trunk[0].weight.T
    h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-3).sqrt() + trunk[1].bias
    torch.testing.assert_close(trunk[:3](v), h.relu())
    for name, weight in trunk.named_parameters():
        (slope,) = torch.autograd.grad(trunk(v).square().sum(), weight)
        assert float(slope.abs().max()) > 1e-4, name  # none is idle, as a bias before the norm would be


def test_decoder_and_discriminator_are_the_papers():
    torch.manual_seed(0)
    decoder, D, code = molecular_aae.decoder(4), molecular_aae.discriminator(4), torch.randn(9, 5)
    first, second, last = (layer for layer in decoder if isinstance(layer, nn.Linear))
    torch.testing.assert_close(decoder(code), last(second(first(code).tanh()).tanh()))
    first, last = (layer for layer in D if isinstance(layer, nn.Linear))
    torch.testing.assert_close(D(code[:, :4]), last(first(code[:, :4]).clamp(min=0)))
    assert (first.out_features, decoder[0].out_features, decoder[2].out_features) == (6, 64, 128)


# The game.


def aae(*, manifold=0.0, seed=3, dtype=torch.float32):
    torch.manual_seed(seed)
    return MolecularAAE(
        molecular_aae.trunk(),
        molecular_aae.head(4),
        molecular_aae.head(1),
        molecular_aae.decoder(4),
        molecular_aae.discriminator(4),
        prior=priors.gaussian(4),
        game=game("non-saturating"),
        manifold=manifold,
    ).to(dtype)


def families(count=512):
    """Molecules of 8 families: a family has its own half of the keys, one in 20 is wrong; growth by family and dose."""
    g = make_generator("families")
    typical = torch.rand(8, KEYS, generator=g) < 0.5
    family = torch.arange(count) % 8
    keys = typical[family] ^ (torch.rand(count, KEYS, generator=g) < 0.05)
    images = ((to_image(keys.float()) + 1) * 127.5).to(torch.uint8)
    concentration = -5.82 + 1.68 * torch.randn(count, generator=g)
    growth = torch.tanh(-4 - family / 2 - concentration)
    values = torch.stack([concentration, growth], 1)
    return Dataset("families", images, values=values, modality="molecules")


class Batches:
    """A feed that keeps what it gave."""

    def __init__(self, data, dtype=torch.float64):
        self.feed = Feed({"train": data}, 16, seed=0, dtype=dtype)
        self.given = []

    def __call__(self, stream):
        self.given.append(self.feed(stream))
        return self.given[-1]


def test_every_loss_agrees_with_a_second_implementation():
    """Weights do not change between the moves here, so each loss is a function of its own batch."""
    system, feed = aae(manifold=2.0, dtype=torch.float64), Batches(families())
    torch.manual_seed(7)
    moves = list(system.round(feed))
    assert [move.player for move in moves] == ["discriminator", "encoder", "regressor", "autoencoder"]
    assert len(feed.given) == 4
    torch.manual_seed(7)
    drawn = system.draw_rows(system.prior.draw, 16)
    doses = -5.82 + 1.68 * torch.randn(16, 2).double()

    def encoded(keys, concentration):
        h = system.trunk(torch.cat([keys, concentration], 1))
        return system.code(h), system.growth(h)

    keys = [(x.flatten(1)[:, :166] + 1) / 2 for x, _ in feed.given]
    dose, grown = zip(*[(v[:, :1], v[:, 1:]) for _, v in feed.given], strict=True)
    real, fake = torch.sigmoid(system.D(drawn)), torch.sigmoid(system.D(encoded(keys[0], dose[0])[0]))
    torch.testing.assert_close(moves[0].loss, -(real.log() + (1 - fake).log()).mean())

    fools = -torch.sigmoid(system.D(encoded(keys[1], dose[1])[0])).log().mean()
    twice, _ = encoded(torch.cat([keys[1], keys[1]]), torch.cat([doses[:, :1], doses[:, 1:]]))
    first, second = (half / half.norm(dim=1, keepdim=True) for half in (twice[:16], twice[16:]))
    apart = (1 - (first * second).sum(1)).mean()
    torch.testing.assert_close(moves[1].loss, fools + 2 * apart)
    assert float(apart.detach()) > 0.01

    torch.testing.assert_close(moves[2].loss, (encoded(keys[2], dose[2])[1] - grown[2]).square().mean())

    decoded = system.decoder(torch.cat(encoded(keys[3], dose[3]), 1))
    p = torch.sigmoid(decoded[:, :166])
    surprise = -(keys[3] * p.log() + (1 - keys[3]) * (1 - p).log()).mean()
    torch.testing.assert_close(moves[3].loss, surprise + (decoded[:, 166:] - dose[3]).square().mean())


def test_without_weight_there_is_no_manifold_cost():
    torch.manual_seed(7)
    move = list(aae(dtype=torch.float64).round(Batches(families())))[1]
    assert set(move.numbers) == set()
    system = aae()
    system.trunk[0].weight.data[:, 166] = 0  # an encoder that does not look at the concentration
    keys = to_keys(to_float(families().images[:16]))
    assert float(system.manifold_cost(keys).detach()) == pytest.approx(0, abs=1e-6)
    assert float(aae().manifold_cost(keys).detach()) > 0.01


@pytest.mark.parametrize("player", MolecularAAE.players)
def test_a_move_changes_its_own_networks_only(player):
    rates = {each: partial(torch.optim.SGD, lr=0.1 if each == player else 0.0) for each in MolecularAAE.players}
    judge = referee(aae(), families(), optimizers=rates)
    before = {name: p.clone() for name, p in judge.system.named_parameters()}
    judge.play()
    moved = {name.split(".")[0] for name, p in judge.system.named_parameters() if not torch.equal(p, before[name])}
    own = {
        "discriminator": {"D"},
        "encoder": {"trunk", "code"},
        "regressor": {"trunk", "growth"},
        "autoencoder": {"trunk", "code", "growth", "decoder"},
    }
    assert moved == own[player] == set(MolecularAAE.players[player])


def test_images_without_values_are_refused():
    plain = replace(families(), values=None)
    one_line(lambda: referee(aae(), plain).play(), "has no concentration and growth", "nci")
    labeled = replace(plain, labels=torch.zeros(len(plain), dtype=torch.int64), classes=("one",))
    one_line(lambda: referee(aae(), labeled).play(), "has no concentration and growth")


# What it can do beside playing.


def test_abilities_give_what_they_promise():
    system, data = aae(), families()
    system.set_growth_percentiles(data.values[:, 1])
    images = to_float(data.images[:6])
    codes = system.encode(images)
    assert codes.shape == (6, 5)
    told = torch.full((6,), -5.82)
    assert torch.equal(codes, system.encode(images, concentration=told))
    assert not torch.equal(codes[:, 4], system.encode(images, concentration=-3.0)[:, 4])
    assert torch.equal(system.reconstruct(images), system.decode(codes))
    assert torch.equal(system.sample(6, seed=2), system.decode(system.sample_latents(6, seed=2)))
    assert not torch.equal(system.sample(6, seed=2), system.sample(6, seed=3))
    decoded = system.decode(codes)
    with torch.no_grad():
        expected = torch.sigmoid(system.decoder(codes)[:, :166]) * 2 - 1
    torch.testing.assert_close(decoded.flatten(1)[:, :166], expected)
    assert set(decoded.flatten(1)[:, 166:].unique().tolist()) == {-1.0}
    (walk,) = system.traversals().values()
    assert walk.shape == (8, 9, 5)
    assert torch.equal(walk[0, :, 4], walk[5, :, 4])
    assert (float(walk[0, 0, 4]), float(walk[0, -1, 4])) == pytest.approx(
        (float(data.values[:, 1].min()), float(data.values[:, 1].max()))
    )
    assert all(len(set(row[:, 0].tolist())) == 1 for row in walk)
    assert system.equilibrium() == pytest.approx({"discriminator": 2 * math.log(2), "encoder": math.log(2)})


def test_a_molecules_code_does_not_depend_on_its_neighbors():
    system, data = aae(), families()
    judge = referee(system, data)
    for _ in range(3):
        judge.play()
    images = to_float(data.images[:8])
    alone = torch.cat([system.encode(image[None]) for image in images])
    torch.testing.assert_close(system.encode(images), alone)
    assert system.training


def test_growth_is_as_asked_or_as_in_the_data():
    system = aae()
    system.set_growth_percentiles(torch.cat([torch.full((300,), -1.0), torch.full((700,), 0.5)]))
    codes = system.sample_latents(4000, seed=1)
    assert float((codes[:, 4] == -1).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((codes[:, 4] == 0.5).float().mean()) == pytest.approx(0.7, abs=0.03)
    torch.testing.assert_close(codes[:, :4].std(0), torch.ones(4), atol=0.06, rtol=0)
    asked = system.sample_latents(4000, seed=1, growth=-0.7)
    assert set(asked[:, 4].tolist()) == {float(torch.tensor(-0.7))}
    assert torch.equal(asked[:, :4], codes[:, :4])


class ByGrowth(nn.Module):
    """A decoder that paints the first fingerprint for negative growth, else one of the others by the first neuron."""

    def __init__(self, low, left, right):
        super().__init__()
        self.low, self.left, self.right = low, left, right

    def forward(self, codes):
        high = torch.where(codes[:, :1] < 0, self.left, self.right)
        keys = torch.where(codes[:, 4:] < 0, self.low, high)
        return torch.cat([8 * keys - 4, codes[:, :1]], 1)


def test_screening_finds_the_molecules_that_are_like_those_made():
    images, _ = fingerprints(SMILES)
    keys = to_keys(to_float(images))
    system = aae()
    system.decoder = ByGrowth(keys[3], keys[5], keys[8])
    best, similarity = system.screen(to_float(images), 4, growth=-0.5, generated=10)
    expected = tanimoto(keys > 0.5, keys[3:4] > 0.5)[:, 0]
    assert int(best[0]) == 3
    assert float(similarity[0]) == 1.0
    assert torch.equal(similarity, expected.sort(descending=True).values[:4])
    assert torch.equal(expected[best], similarity)
    best, similarity = system.screen(to_float(images), 10, growth=0.5, generated=10)
    assert sorted(best[:2].tolist()) == [5, 8]  # the nearest of what was made counts
    assert similarity[:2].tolist() == [1.0, 1.0]
    assert torch.equal(similarity, tanimoto(keys > 0.5, keys[[5, 8]] > 0.5).amax(1)[best])
    one_line(lambda: system.screen(to_float(images), 11, growth=0.0), "n is 11", "10 candidate molecules")


def test_the_verb_screen(tmp_path, capsys):
    lines = [f"{smiles}\tname {i}" for i, smiles in enumerate(SMILES)]
    made = train("molecular-aae", file_of(tmp_path, 3 * lines), rounds=1, batch=8, monitor=False, out=tmp_path)
    candidates = str(file_of(tmp_path, [*lines, "not-a-molecule"][:10], "candidates.smi"))
    words = ["screen", str(made.path), "--data", candidates, "-n", "3", "--generated", "20"]
    main([*words, "--out", str(tmp_path / "leads.csv")])
    said = capsys.readouterr().out
    assert "median of all 10 candidates" in said
    assert "no measured effect" in said
    table = (tmp_path / "leads.csv").read_text().splitlines()
    assert table[0] == "rank,similarity,growth,name,smiles"
    main([*words, "--json", "--out", str(tmp_path / "leads.png")])
    found = json.loads(capsys.readouterr().out)["molecules"]
    rows, similarity = made.system().screen(to_float(fingerprints(SMILES)[0]), 3, generated=20)
    assert [one["smiles"] for one in found] == [SMILES[row] for row in rows]
    assert [one["name"] for one in found] == [f"name {row}" for row in rows.tolist()]
    assert [one["similarity"] for one in found] == pytest.approx(similarity.tolist())
    assert (tmp_path / "leads.png").read_bytes()[:4] == b"\x89PNG"
    for wrong, message in (
        (["--out", "leads.txt"], "must end in .csv or .png"),
        (["--data", "mnist"], "must be nci, or end in .smi or .csv"),
    ):
        with pytest.raises(SystemExit):
            main([*words, *wrong])
        assert message in capsys.readouterr().err


# The recipe.


def test_the_recipe_is_the_papers():
    made = build_recipe(recipe, SPEC, resolve_arguments(recipe, {}))
    assert (made.batch, made.rounds, made.system.latent_dim, made.system.manifold) == (64, 500_000, 4, 0)
    assert weights(made.system) == 30_020 + 65 + 30_247 + 37
    assert set(made.optimizers) == set(made.system.players)
    assert all(make([nn.Parameter(torch.zeros(1))]).defaults["lr"] == 0.01 for make in made.optimizers.values())
    made.prepare(families())
    assert float(made.system.percentiles[50]) == pytest.approx(float(families().values[:, 1].median()), abs=0.02)


def test_recipes_refuse_data_of_another_modality():
    digits = Spec(1, 28, 28, ("a", "b"))
    one_line(lambda: build_recipe(recipe, digits, resolve_arguments(recipe, {})), "is for molecules", "--data nci")
    images = replace(families(), modality="images")
    one_line(lambda: train(recipe, images, rounds=1, quiet=True), "is for molecules, the data are images")
    for name in RECIPES:
        function = load_recipe(name, RECIPES)
        if function is not recipe:
            words = "is for images, the data are molecules: choose the recipe molecular-aae"
            one_line(partial(build_recipe, function, SPEC, resolve_arguments(function, {})), words)
    bare = replace(families(), values=None)
    one_line(lambda: train(recipe, bare, rounds=1, quiet=True), "'families' has no concentration and growth")


def test_only_known_modalities():
    one_line(lambda: replace(families(), modality="audio"), "modality is 'audio': it must be images or molecules")


def test_it_learns_fingerprints_and_growth():
    """After 400 rounds a held-out molecule is rebuilt from 5 numbers far better than by what is usual of each key."""
    data = families(640).hold_out(0.2)
    torch.manual_seed(0)
    made = build_recipe(recipe, data.spec, resolve_arguments(recipe, {}))
    judge = referee(made.system, data, batch=made.batch, optimizers=made.optimizers, ema_decay=0.98)
    for _ in range(400):
        judge.play()
    images, values = to_float(data.held_out.images), data.held_out.values
    keys = to_keys(images)
    usual = to_keys(to_float(data.images)).mean(0).expand_as(keys)
    rebuilt = to_keys(judge.ema_system.reconstruct(images, concentration=values[:, 0]))
    assert F.binary_cross_entropy(usual, keys) > 0.6
    assert F.binary_cross_entropy(rebuilt, keys) < 0.45
    assert float(((usual > 0.5) != (keys > 0.5)).float().mean()) > 0.35
    assert float(((rebuilt > 0.5) != (keys > 0.5)).float().mean()) < 0.2
    predicted = judge.ema_system.encode(images, concentration=values[:, 0])[:, 4]
    assert F.mse_loss(predicted, values[:, 1]) < 0.15 * values[:, 1].var()


def test_a_run_resumes_bit_for_bit(tmp_path):
    data = families(200).hold_out(0.1)
    options = {"batch": 8, "manifold": 0.5, "quiet": True, "log_every": 1}
    straight = train(RECIPE, data, rounds=4, save_every=2, out=tmp_path / "a", **options)
    stopped = train(RECIPE, data, rounds=2, out=tmp_path / "b", **options)
    resumed = resume(stopped, rounds=4, data=data, recipe=RECIPE, quiet=True)
    for file in ("log.jsonl", "weights/model.safetensors", "checkpoints/round-00000004/system.safetensors"):
        assert (straight.path / file).read_bytes() == (resumed.path / file).read_bytes(), file
    shown = open_system(resumed.path / "weights", recipe=RECIPE)
    assert float(shown.percentiles[100]) == pytest.approx(float(data.values[:, 1].max()))
    other = replace(data, values=data.values + 1)
    one_line(lambda: resume(stopped, rounds=5, data=other, recipe=RECIPE, quiet=True), "not the data")
