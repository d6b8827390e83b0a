"""Train the feature extractor lenet-mnist or lenet-fashion-mnist; weights and log go into sparring/metrics/weights/.

    python scripts/train_lenet.py mnist --data-root DIR      (or SPARRING_DATA=DIR; data in torchvision's layout)

Only the 60,000 training images are learnt from; the number of epochs and all settings are fixed beforehand. The
test set is looked at once, after the last step, to write down the accuracy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

import sparring.metrics
from sparring.data import load
from sparring.metrics.extractors import Extractor, LeNet, digest_of
from sparring.seeds import derive, generator

SEED = 0
EPOCHS = 6
BATCH = 128
RATE = 2e-3
SHIFT = 2  # pixels, in each direction
DECAY = 1e-2


def shifted(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each image of (N, 1, 28, 28) moved by its own -SHIFT..SHIFT pixels in both directions, black coming in."""
    n, _, height, width = images.shape
    padded = F.pad(images, (SHIFT,) * 4)
    down, right = torch.randint(2 * SHIFT + 1, (2, n), generator=rng)
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]


def train(name: str, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> tuple[Extractor, list[float]]:
    """The trained extractor (without accuracy) and the mean training loss of every epoch."""
    torch.manual_seed(derive("train_lenet", SEED))
    rng = generator("train_lenet", "data", SEED)
    network = LeNet(channels=1, size=28, classes=len(classes))
    student = Extractor(name, "", 1, 28, classes, None, network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=steps)
    losses = []
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(images), generator=rng).split(BATCH):
            _, logits = network(student.prepare(shifted(images[rows], rng)))
            loss = F.cross_entropy(logits, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        losses.append(round(total / len(images), 5))
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  training loss {losses[-1]:.4f}", flush=True)
    network.eval()
    return student, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--data-root", default=os.environ.get("SPARRING_DATA"), help="folder with MNIST/raw")
    parser.add_argument("--out", type=Path, default=Path(sparring.metrics.__file__).parent / "weights")
    arguments = parser.parse_args()

    # Learn.
    name = f"lenet-{arguments.data}"
    data = load(arguments.data, root=arguments.data_root, held_out=0)
    assert data.labels is not None, "it has labels"
    assert data.test is not None, "and a test set"
    assert data.test.labels is not None, "and its labels"
    begun = time.perf_counter()
    student, losses = train(name, data.images, data.labels, data.classes)
    minutes = (time.perf_counter() - begun) / 60

    # Measure, once.
    _, logits = student.features(data.test.images)
    assert logits is not None
    right = int((logits.argmax(1) == data.test.labels).sum())
    accuracy = right / len(data.test)
    print(f"test accuracy {accuracy:.4f} ({right} of {len(data.test)}), {minutes:.1f} minutes")

    # Save.
    card = {
        "name": name,
        "architecture": "LeNet(channels=1, size=28, classes=10) of sparring/metrics/extractors.py",
        "parameters": sum(weight.numel() for weight in student.network.parameters()),
        "digest": digest_of(student.network),
        "classes": list(student.classes),
        "test_accuracy": accuracy,
        "test_images": len(data.test),
        "training_images": len(data),
        "seed": SEED,
        "settings": {
            "epochs": EPOCHS, "batch": BATCH, "optimiser": "AdamW, one-cycle", "rate": RATE, "decay": DECAY,
            "shift": SHIFT,
        },
        "training_loss": losses,
        "minutes": round(minutes, 1),
        "torch": torch.__version__,
        "command": f"python scripts/train_lenet.py {arguments.data} --data-root DIR",
    }  # fmt: skip
    metadata = {key: str(card[key]) for key in ("name", "architecture", "digest", "test_accuracy", "seed", "command")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in student.network.state_dict().items()}
    (arguments.out / f"{name}.safetensors").write_bytes(save(weights, metadata))
    (arguments.out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
