"""Train the feature extractor "faces-net" on the data sets "faces" and "pixel-faces"; it goes into metrics/weights/.

    python scripts/train_faces_net.py --seed 0

An AttributeNet learns all attributes at once, by the sum of their cross-entropies, from the training images of both
sets. Each batch has 64 or, resized to 64, 32 pixels, at random. Attributes that pixel art does not show have no loss
there. The number of epochs and all settings are fixed beforehand. The held-out images are looked at after the last
step, to write down the accuracies.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

import sparring.metrics
from sparring.data import load
from sparring.data.faces import ATTRIBUTES, FACES, attributes_of
from sparring.metrics.extractors import AttributeNet, Extractor, digest_of
from sparring.seeds import derive_seed, make_generator

NAME = "faces-net"
SIZE, BATCH, RATE, DECAY = 64, 128, 2e-3, 1e-2
SHIFT = 1  # pixels, in each direction
UNKNOWN = -100  # the class of an attribute that the style does not show
SIZES = [64, 32]
WIDTHS = [len(classes) for classes in ATTRIBUTES.values()]


def images_of(name: str, size: int, part: str) -> tuple[Tensor, Tensor]:
    """(N, 3, size, size) uint8 and (N, attributes) classes of the training or held-out images."""
    data = load(name, size=size)
    assert data.held_out is not None
    half = data if part == "training" else data.held_out
    assert half.index is not None
    return half.images, attributes_of(name)[half.index]


def moved(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each image of (N, C, S, S) moved by its own -SHIFT..SHIFT pixels; the border is repeated."""
    n, channels, height, width = images.shape
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2, n), generator=rng)
    rows = (down[:, None] + torch.arange(height)).clamp(0, height - 1)[:, None, :, None]
    columns = (right[:, None] + torch.arange(width)).clamp(0, width - 1)[:, None, None, :]
    return images[torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]


def train(student: Extractor, seed: int, epochs: int) -> list[float]:
    """Train the network; returns the mean training loss of every epoch."""
    stored = {}
    for size in SIZES:
        parts = [images_of(name, size, "training") for name in FACES]
        stored[size], classes = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    network, rng = student.network, make_generator(NAME, "data", seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * math.ceil(len(classes) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(classes), generator=rng).split(BATCH):
            size = SIZES[int(torch.randint(len(SIZES), (), generator=rng))]
            _, logits = network(student.prepare(moved(stored[size][rows], rng)))
            heads = zip(logits.split(WIDTHS, 1), classes[rows].T, strict=True)
            loss = sum(F.cross_entropy(head, y, reduction="sum", ignore_index=UNKNOWN) for head, y in heads) / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        losses.append(round(total / len(classes), 5))
        print(f"epoch {epoch + 1:2d}/{epochs}  training loss {losses[-1]:.4f}", flush=True)
    network.eval()
    return losses


def accuracies(student: Extractor, name: str, size: int) -> dict[str, float]:
    """The share of held-out images whose attribute is right, for each attribute that the style shows."""
    images, classes = images_of(name, size, "held-out")
    with torch.no_grad():
        logits = [student.network(student.prepare(batch))[1] for batch in images.split(BATCH)]
    heads = torch.cat(logits).split(WIDTHS, 1)
    return {
        attribute: float((head.argmax(1) == y).double().mean())
        for attribute, head, y in zip(ATTRIBUTES, heads, classes.T, strict=True)
        if y[0] != UNKNOWN
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(sparring.metrics.__file__).parent / "weights")
    arguments = parser.parse_args()

    # Learn.
    torch.manual_seed(derive_seed(NAME, arguments.seed))
    network = AttributeNet(channels=3, classes=sum(WIDTHS))
    student = Extractor(NAME, "", 3, SIZE, (), None, network)
    begun = time.process_time()
    losses = train(student, arguments.seed, arguments.epochs)
    minutes = (time.process_time() - begun) / 60

    # Measure, once.
    measured = {f"{name} {size}": accuracies(student, name, size) for name in FACES for size in SIZES}
    print(json.dumps(measured, indent=1), f"\n{minutes:.1f} minutes of a core")

    # Save.
    card = {
        "name": NAME,
        "architecture": f"AttributeNet(channels=3, classes={sum(WIDTHS)}) of sparring/metrics/extractors.py",
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "digest": digest_of(network),
        "attributes": ATTRIBUTES,
        "held_out_accuracy": measured,
        "held_out_images": {name: len(load(name).held_out or ()) for name in FACES},
        "seed": arguments.seed,
        "settings": {
            "epochs": arguments.epochs, "batch": BATCH, "optimizer": "AdamW, one-cycle", "rate": RATE, "decay": DECAY,
            "shift": SHIFT,
        },
        "training_loss": losses,
        "minutes": round(minutes, 1),
        "torch": torch.__version__,
        "command": f"python scripts/train_faces_net.py --seed {arguments.seed} --epochs {arguments.epochs}",
    }  # fmt: skip
    metadata = {key: str(card[key]) for key in ("name", "architecture", "digest", "seed", "command")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = {key: weight.contiguous() for key, weight in network.state_dict().items()}
    (arguments.out / f"{NAME}.safetensors").write_bytes(save(weights, metadata))
    (arguments.out / f"{NAME}.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
