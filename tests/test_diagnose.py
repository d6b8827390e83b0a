"""Whatever the numbers: no diagnosis is given that its own evidence contradicts, and its advice can be followed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.diagnose import diagnose
from sparring.diagnose.signs import SIGMAS
from sparring.evaluation import Measurement

SHARES = ("precision", "recall", "coverage", "cells-JS", "cells-NDB", "missing", "classes-TV", "duplicates")
SHARES += ("duplicates-pixels",)
SHARES += ("C2ST", "1-NN real", "1-NN fake", "copied-features", "copied-pixels", "authentic")
RATIOS = ("density", "blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak")
LIGHTS = ("green", "amber", "red", "gray")


def card(metric, value, floor=0.0, z=0.0, light="", **others):
    interval = (value, value)
    number = Measurement(metric=metric, value=value, n=400, split="held_out", floor=floor, interval=interval)
    return number.as_dict() | {"z": z, "light": light} | others


def healthy(**changed):
    """The cards of real images, some of them changed: (value, z)."""
    found = {
        name: card(name, 1.0 if name in RATIOS else 0.5, 1.0 if name in RATIOS else 0.5) for name in SHARES + RATIOS
    }
    del found["duplicates-pixels"]
    for name in ("cells-NDB", "missing", "classes-TV", "duplicates", "copied-features", "copied-pixels"):
        found[name] = card(name, 0.0, 0.001)
    found["KID"] = card("KID", 0.0, light="green")
    for name, (value, z) in changed.items():
        found[name.replace("_", " ")] |= {"value": value, "z": z}
    return list(found.values())


@st.composite
def evaluations(draw):
    cards = []
    for name in draw(st.lists(st.sampled_from(SHARES + RATIOS), unique=True)):
        most = 1.0 if name in SHARES else 8.0
        value, floor = (draw(st.floats(0, most, allow_subnormal=False)) for _ in range(2))
        light = draw(st.sampled_from(LIGHTS))
        z = {"green": 1.0, "amber": 4.0, "red": 9.0, "gray": 4.0}[light] * draw(st.sampled_from((-1, 1)))
        cards.append(card(name, value, floor, z, light, needed=100))
    if draw(st.booleans()):
        light = draw(st.sampled_from(LIGHTS))
        cards.append(card("KID", 1.0, 0.0, 9.0 if light == "red" else 1.0, light, needed=60))
    if draw(st.booleans()):
        cards.append(card("effective support", draw(st.floats(1, 1e6))))
    if draw(st.booleans()):
        cards.append(card("class agreement", draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    if draw(st.booleans()):
        cards.append(card("active units", draw(st.integers(0, 20)), None))
    system = draw(
        st.one_of(
            st.just({}),
            st.fixed_dictionaries(
                {
                    "adversary": st.booleans(),
                    "code": st.booleans(),
                    "classes": st.integers(0, 10),
                    "kernels": st.sampled_from((True, False, None)),
                    "transposed": st.lists(st.tuples(st.integers(2, 5), st.just(2)), max_size=2),
                }
            ),
        )
    )
    classes = [
        {"name": name, "share": made, "low": max(0, made - 0.01), "high": made + 0.01, "real_share": real}
        for name, made, real in draw(st.lists(st.tuples(st.just("a"), st.floats(0, 1), st.floats(0, 1)), max_size=4))
    ]
    return {"metrics": cards, "system": system, "classes": classes, "units": [{}] * 20}


@settings(max_examples=60, deadline=None)
@given(evaluations())
def test_no_diagnosis_contradicts_its_own_numbers(evaluation):
    found = {one["metric"]: one for one in evaluation["metrics"]}
    value = lambda name: found[name]["value"]  # noqa: E731
    system = evaluation["system"]
    for one in diagnose(json.loads(json.dumps(evaluation))):
        assert 0.5 <= one.certainty <= 1
        assert set(one.evidence) <= found.keys()
        assert one.evidence
        if one.cause == "mode collapse":
            assert value("duplicates") >= 0.1
            assert found["duplicates"]["z"] > SIGMAS
            assert "duplicates-pixels" not in found or value("duplicates-pixels") >= 0.1
            assert "0.0 % of the samples" not in one.sentence
        if one.cause == "missing modes":
            gone = sum(row["real_share"] for row in evaluation["classes"] if row["high"] < 0.5 * row["real_share"])
            assert ("missing" in found and value("missing") >= 0.04) or gone >= 0.04
        if one.cause == "checkerboard":
            assert system.get("kernels") is not False
            name = "Nyquist" if "every 2 pixels" in one.sentence else "quarter"
            assert value(f"{name} ratio") > 1.5
            assert value(f"{name} peak") > 1.5
        if one.cause == "blur":
            assert value("blur ratio") < 0.7
            assert value("HF ratio") < 0.6
        if one.cause == "noise":
            assert value("HF ratio") > 1.15
            assert value("blur ratio") > 1.1
        if one.cause == "memorization":
            assert min(value("copied-features"), value("copied-pixels")) > 0.03
        if one.cause == "labels ignored":
            assert found["class agreement"]["floor"] > 0.5
            assert value("class agreement") < 0.5 + 0.25 * (found["class agreement"]["floor"] - 0.5)  # 1/2 by chance
        if one.cause == "posterior collapse":
            assert value("active units") < 2
        if one.cause == "no fault found":
            assert not [name for name, number in found.items() if number["light"] == "red"]
            assert not [name for name in ("KID", "coverage", "C2ST") if found.get(name, {}).get("light") == "gray"]
            assert not one.advice
        assert not irrelevant_words(one.advice, system)


def irrelevant_words(advice, system):
    """Words of the advice for parts that the system does not have."""
    words = ["discriminator", "generator"] if system.get("adversary") is False else []
    words += ["kernel"] if system.get("kernels") is False else []
    return [word for word in words if word in advice.lower()]


def test_collapse_needs_duplicates():
    assert [one.cause for one in diagnose({"metrics": healthy()})] == ["no fault found"]
    (one,) = diagnose({"metrics": healthy(missing=(0.98, 50.0), duplicates=(0.0, 0.0))})
    assert one.cause == "missing modes"
    assert "near-duplicate" not in one.sentence
    noise = [*healthy(duplicates=(1.0, 90.0)), card("duplicates-pixels", 0.0)]  # alike in features only
    assert "mode collapse" not in [one.cause for one in diagnose({"metrics": noise})]
    # Samples that are nowhere near real ones, or blurred, say nothing of modes.
    for spoiled in ({"precision": (0.1, -30.0)}, {"blur_ratio": (0.4, -30.0), "HF_ratio": (0.3, -30.0)}):
        causes = [one.cause for one in diagnose({"metrics": healthy(missing=(0.98, 50.0), **spoiled)})]
        assert causes in (["unreal samples"], ["blur"])
    blurred = {"blur_ratio": (0.3, -30.0), "HF_ratio": (0.3, -30.0)}
    for share, causes in ((0.4, {"blur"}), (0.95, {"blur", "mode collapse"})):
        assert {one.cause for one in diagnose({"metrics": healthy(duplicates=(share, 90.0), **blurred)})} == causes


@pytest.mark.parametrize(
    ("system", "words", "absent"),
    [
        ({"adversary": True, "code": False, "classes": 0, "kernels": True}, "gradient penalty", "beta"),
        ({"adversary": False, "code": True, "classes": 0, "kernels": True}, "beta", "gp_weight"),
        ({}, "gradient penalty", "beta"),
    ],
)
def test_advice_is_for_this_kind_of_system(system, words, absent):
    (one,) = diagnose({"metrics": healthy(duplicates=(0.9, 90.0)), "system": system})
    assert one.cause == "mode collapse"
    assert words in one.advice
    assert absent not in one.advice


def test_a_checkerboard_needs_kernels_and_a_peak():
    board = healthy(Nyquist_ratio=(9.0, 50.0), Nyquist_peak=(7.0, 50.0))
    assert [one.cause for one in diagnose({"metrics": board})] == ["checkerboard"]
    for system in ({"kernels": True, "transposed": [[5, 2]]}, {"kernels": True, "transposed": [[4, 2]]}):
        (one,) = diagnose({"metrics": board, "system": system})
        assert ("5 at stride 2" in one.advice) == (system["transposed"] == [[5, 2]])
    assert "checkerboard" not in [one.cause for one in diagnose({"metrics": board, "system": {"kernels": False}})]
    blocks = healthy(quarter_ratio=(1e4, 1e6), quarter_peak=(0.9, 0.0))  # pixel art: real images have no power there
    assert "checkerboard" not in [one.cause for one in diagnose({"metrics": blocks})]
    noisy = healthy(Nyquist_ratio=(9.0, 50.0), HF_ratio=(3.0, 50.0), blur_ratio=(2.0, 50.0))
    assert [one.cause for one in diagnose({"metrics": noisy, "system": {"kernels": False}})] == ["noise"]


def test_gray_lights_are_no_good_news():
    few = [one | {"light": "gray", "needed": 250, "n": 61} for one in healthy()]
    (one,) = diagnose({"metrics": few})
    assert one.cause == "too few images"
    assert "61 images are too few" in one.sentence
    assert "250 images or more" in one.advice
    copied = [one | {"light": "gray" if one["metric"].startswith("copied") else "green"} for one in healthy()]
    (one,) = diagnose({"metrics": copied})
    assert one.cause == "no fault found"
    assert "There are too few images for copied-features, copied-pixels." in one.sentence
    (one,) = diagnose({"metrics": [number | {"light": "red"} for number in few]})
    assert one.cause == "unlike real images"
