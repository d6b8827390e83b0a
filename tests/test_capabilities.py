"""What systems declare about their capabilities agrees with their methods."""

import inspect

import pytest
import toys
from helpers import shipped_systems

from sparring.errors import SparringError
from sparring.evaluation.splits import accepts
from sparring.system import CAPABILITIES, REQUIRED_KEYWORDS
from sparring.systems.gan import GAN
from sparring.systems.vae import VAE


@pytest.mark.parametrize("kind", shipped_systems(), ids=lambda kind: kind.__name__)
def test_declared_options_are_those_of_the_methods(kind):
    for name in CAPABILITIES:
        method = getattr(kind, name, None)
        if method is None:
            assert name not in kind.takes
            continue
        parameters = [p for p in inspect.signature(method).parameters.values() if p.default is not p.empty]
        assert {p.name for p in parameters} == kind.takes.get(name, set()) | REQUIRED_KEYWORDS.get(name, set())


def test_some_system_takes_labels_and_another_does_not():
    options = {kind.__name__: kind.takes for kind in shipped_systems()}
    assert options["BigGAN"]["score"] == {"labels"}  # inherited from ConditionalGAN
    assert options["BigGAN"]["decode"] == {"labels", "truncation"}
    assert "score" not in options["GAN"]
    assert "reconstruct" in options["SupervisedAAE"]


def test_accepts():
    gan = toys.gan()
    assert gan.accepts("sample", "truncation")
    assert not gan.accepts("sample", "labels")
    assert not gan.accepts("classify", "labels")
    with pytest.raises(SparringError, match="unknown capability 'scor'; did you mean 'score'"):
        gan.accepts("scor", "labels")
    assert accepts(gan, "sample", "truncation")


def test_objects_that_are_no_systems_may_declare_options():
    class Decoder:
        takes = {"reconstruct": {"labels"}}

        def reconstruct(self, images, *, labels=None): ...

    assert accepts(Decoder(), "reconstruct", "labels")
    assert not accepts(Decoder(), "encode", "seed")
    assert not accepts(object(), "reconstruct", "labels")


def test_undeclared_options_are_refused():
    with pytest.raises(TypeError, match=r'Own.takes .* Own.score: "score": {"labels"} belongs in takes'):

        class Own(GAN):
            def score(self, images, *, labels=None): ...


def test_declared_options_that_the_method_does_not_take_are_refused():
    with pytest.raises(TypeError, match=r'Own.sample: remove "sample" from takes'):

        class Own(GAN):
            takes = {"sample": {"truncation"}}

            def sample(self, n, *, seed=0): ...


def test_declared_methods_must_be_the_classs_own():
    with pytest.raises(TypeError, match=r"Own.takes declares score, which is not a capability that it defines"):

        class Own(GAN):
            takes = {"score": {"labels"}}

    with pytest.raises(TypeError, match=r"Own.takes declares smaple"):

        class Own(GAN):
            takes = {"smaple": {"labels"}}


def test_required_keywords_are_required():
    with pytest.raises(TypeError, match=r"Own.sample must take the keyword argument seed: sample\(n, \*, seed=0\)"):

        class Own(GAN):
            def sample(self, n): ...


def test_options_of_a_removed_or_replaced_method_are_not_inherited():
    class Without(VAE):
        encode = None

        def sample(self, n, *, seed=0): ...

    assert Without.takes == {"sample_latents": {"truncation"}}


def test_a_method_with_kwargs_may_declare_what_it_passes_on():
    class Passing(GAN):
        takes = {"sample": {"truncation"}}

        def sample(self, n, **options):
            return super().sample(n, **options)

    assert Passing.takes["sample"] == {"truncation"}


def test_methods_of_mixins_are_checked():
    class Scores:
        def score(self, images, *, labels=None): ...

    with pytest.raises(TypeError, match=r"Scores.takes does not match the arguments of Scores.score"):

        class Own(Scores, GAN): ...
