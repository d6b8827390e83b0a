"""Train a feature extractor; its weights and its log go into sparring/metrics/weights/.

    python scripts/train_extractor.py mnist --data-root DIR          (or SPARRING_DATA=DIR; torchvision's layout)
    python scripts/train_extractor.py fashion-mnist --seed 1         (the second, independent one)
    python scripts/train_extractor.py cifar10-train.zip --test cifar10-test.zip     (a named set, a folder or a zip)

Gray images are learnt by a LeNet, color images by a SmallConv. Only training images are learnt from; the number of
epochs and all settings are fixed beforehand. The test set is looked at once, after the last step, to write down the
accuracy. Seed 0 makes NAME, seed 1 makes NAME-2.
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
from torch import Tensor, nn

import sparring.metrics
from sparring.data import Dataset, load
from sparring.metrics.extractors import Extractor, LeNet, SmallConv, digest_of
from sparring.seeds import derive_seed, make_generator

BATCH = 128
RATE = 2e-3
SHIFT = 2  # pixels, in each direction
DECAY = 1e-2


def varied(images: Tensor, rng: torch.Generator, mirror: bool) -> Tensor:
    """Each image of (N, C, S, S) moved by its own -SHIFT..SHIFT pixels, black coming in; half of them mirrored."""
    n, channels, height, width = images.shape
    padded = F.pad(images, (SHIFT,) * 4)
    down, right = torch.randint(2 * SHIFT + 1, (2, n), generator=rng)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    moved = padded[torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]
    if mirror:
        flip = torch.rand(n, generator=rng) < 0.5
        moved = torch.where(flip[:, None, None, None], moved.flip(3), moved)
    return moved


def train(name: str, network: nn.Module, data: Dataset, seed: int, epochs: int) -> tuple[Extractor, list[float]]:
    """The trained extractor (without accuracy) and the mean training loss of every epoch."""
    assert data.labels is not None, "it has labels"
    rng = make_generator("train_lenet", "data", seed)
    student = Extractor(name, "", data.spec.channels, data.spec.size, data.classes, None, network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * math.ceil(len(data) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(data), generator=rng).split(BATCH):
            images = varied(data.images_at(rows), rng, mirror=data.spec.channels == 3)
            _, logits = network(student.prepare(images))
            loss = F.cross_entropy(logits, data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        losses.append(round(total / len(data), 5))
        print(f"epoch {epoch + 1:2d}/{epochs}  training loss {losses[-1]:.4f}", flush=True)
    network.eval()
    return student, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a named data set, or a folder or zip whose folders are classes")
    parser.add_argument("--test", help="folder or zip of test images, for data without a test set")
    parser.add_argument("--name", help="of the extractor (default: lenet-DATA, smallconv-cifar10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--data-root", default=os.environ.get("SPARRING_DATA"), help="folder with MNIST/raw")
    parser.add_argument("--out", type=Path, default=Path(sparring.metrics.__file__).parent / "weights")
    arguments = parser.parse_args()

    # Learn.
    data = load(arguments.data, root=arguments.data_root, held_out=0)
    test = load(arguments.test, held_out=0) if arguments.test else data.test
    assert test is not None, "it has a test set, or --test names one"
    assert test.labels is not None, "with labels"
    assert test.classes == data.classes, "of the same classes"
    color = data.spec.channels == 3
    name = arguments.name or ("smallconv-cifar10" if color else f"lenet-{arguments.data}")
    name += f"-{arguments.seed + 1}" if arguments.seed else ""
    kind = SmallConv if color else LeNet
    torch.manual_seed(derive_seed("train_lenet", arguments.seed))
    network = kind(channels=data.spec.channels, size=data.spec.size, classes=len(data.classes))
    begun = time.process_time()
    student, losses = train(name, network, data, arguments.seed, arguments.epochs)
    minutes = (time.process_time() - begun) / 60

    # Measure, once.
    _, logits = student.features(test.images)
    assert logits is not None
    right = int((logits.argmax(1) == test.labels).sum())
    accuracy = right / len(test)
    print(f"test accuracy {accuracy:.4f} ({right} of {len(test)}), {minutes:.1f} minutes of a core")

    # Save.
    card = {
        "name": name,
        "architecture": f"{kind.__name__}(channels={data.spec.channels}, size={data.spec.size}, "
        f"classes={len(data.classes)}) of sparring/metrics/extractors.py",
        "parameters": sum(weight.numel() for weight in student.network.parameters()),
        "digest": digest_of(student.network),
        "classes": list(student.classes),
        "test_accuracy": accuracy,
        "test_images": len(test),
        "training_images": len(data),
        "training_data": data.name,
        "seed": arguments.seed,
        "settings": {
            "epochs": arguments.epochs, "batch": BATCH, "optimizer": "AdamW, one-cycle", "rate": RATE, "decay": DECAY,
            "shift": SHIFT, "mirror": color,
        },
        "training_loss": losses,
        "minutes": round(minutes, 1),
        "torch": torch.__version__,
        "command": f"python scripts/train_extractor.py {Path(arguments.data).name} --seed {arguments.seed} "
        f"--epochs {arguments.epochs}",
    }  # fmt: skip
    metadata = {key: str(card[key]) for key in ("name", "architecture", "digest", "test_accuracy", "seed", "command")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in student.network.state_dict().items()}
    (arguments.out / f"{name}.safetensors").write_bytes(save(weights, metadata))
    (arguments.out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
