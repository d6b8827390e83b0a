"""How well a run's codes tell classes apart: nearest neighbour and linear SVM, as Pidhorskyi et al. 2020 do (table 2).

    python benchmarks/codes.py runs/0001-alae-mnist [--n 10000] [--recipe module:function]

Short codes are what `encode` gives, long ones the encoder's last hidden layer, where the system has `features`. Both
classifiers learn from the run's training images and are tested on its test images (on the held-out ones where the data
has no test images). A code whose accuracy falls least from nearest neighbour to SVM is the least entangled.

The SVM is scikit-learn's LinearSVC(C=.02, max_iter=5000): pip install scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import sparring

BLOCK = 500  # test rows whose distances to all training rows are held at once


def nearest_neighbour(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """(N,) the label of each test row's nearest training row; train (M, F), labels (M,), test (N, F)."""
    return torch.cat([labels[torch.cdist(rows, train).argmin(1)] for rows in test.split(BLOCK)])


def linear_svm(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """(N,) the label that a linear support vector machine gives each test row."""
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise SystemExit(f"the SVM needs scikit-learn ({error}): pip install scikit-learn") from None
    machine = LinearSVC(C=0.02, max_iter=5000).fit(train.numpy(), labels.numpy())
    return torch.from_numpy(machine.predict(test.numpy()))


def main(command_line: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run's directory")
    parser.add_argument("--n", type=int, help="learn from so many training images, at random (default: all)")
    parser.add_argument("--recipe", help="needed for a recipe that is not one of ours: module:function")
    asked = parser.parse_args(command_line)

    run = sparring.open(asked.run)
    system, data = run.system(recipe=asked.recipe), run.data()
    exam = data.test or data.held_out
    if not system.can("encode"):
        raise SystemExit(f"{asked.run}: {type(system).__name__} has no encode: its images have no codes")
    if exam is None or data.labels is None or exam.labels is None:
        raise SystemExit(f"{asked.run}: '{data.name}' has no labels, or neither test nor held-out images")
    split = "test" if data.test else "held-out"
    if asked.n is not None:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
        data = data.rows(order[: asked.n])
    print(f"{len(data):,} training images, {len(exam):,} {split} images of {data.name}")

    kinds = {"short": system.encode}
    if hasattr(system, "features"):
        kinds["long"] = system.features
    for kind, code in kinds.items():
        train, test = (code(part.images.float() / 127.5 - 1) for part in (data, exam))
        for name, classify in (("1-NN", nearest_neighbour), ("linear SVM", linear_svm)):
            share = (classify(train, data.labels, test) == exam.labels).double().mean()
            print(f"{kind:5s} ({train.shape[1]:4d}) {name:10s} {100 * share:.2f} %", flush=True)


if __name__ == "__main__":
    main()
