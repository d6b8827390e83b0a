"""Memory and time of a folder's worth of small images in a zip: decoding, starting again, and feeding.

    python benchmarks/large.py 10000 100000 1000000 [docs/large.svg]

Each number of images in processes of their own, so that the most memory is theirs alone.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("svg")
import matplotlib.pyplot as plt

SIDE, DIFFERENT = 32, 1000


def make(path: Path, images: int) -> None:
    """A zip of color PNGs; every 1,000th has the same pixels."""
    g = np.random.default_rng(0)
    pictures = []
    for _ in range(DIFFERENT):
        small = g.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        held = io.BytesIO()
        Image.fromarray(small).resize((SIDE, SIDE)).save(held, "png", compress_level=1)
        pictures.append(held.getvalue())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index in range(images):
            archive.writestr(f"{index}.png", pictures[index % DIFFERENT])


def read(path: str, cache: str) -> None:
    """In a process of its own: load, then feed 200 batches of 128; says what it took."""
    from sparring.bench.measuring import peak_memory
    from sparring.data import load
    from sparring.data.feed import Feed

    began = time.perf_counter()
    before = peak_memory()
    data = load(path, size=SIDE, channels=3, cache=cache)
    loaded, memory = time.perf_counter() - began, peak_memory() - before
    feed = Feed({"train": data}, 128, seed=0)
    feed()
    began = time.perf_counter()
    for _ in range(200):
        feed()
    fed = time.perf_counter() - began
    print(json.dumps({"load": loaded, "memory": memory, "feed": 200 * 128 / fed, "anonymous": _anonymous()}))


def _anonymous() -> int:
    """Bytes of memory that are no pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def plot(megabytes: dict[int, tuple[float, float]], path: str) -> None:
    """Images -> memory of the first and the second start, and what their pixels would take, as an SVG."""
    figure, axis = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    counts = [*megabytes]
    axis.loglog(counts, [3 * SIDE**2 * n / 1e6 for n in counts], "--", color="#999999", label="the pixels alone")
    for which, (name, color) in enumerate((("first start", "#3366aa"), ("second start", "#cc6633"))):
        axis.loglog(counts, [megabytes[n][which] for n in counts], "o-", color=color, label=name)
    axis.set_xticks(counts, [f"{n:,}" for n in counts])
    axis.minorticks_off()
    axis.set_xlabel(f"images of {SIDE}x{SIDE} pixels in a zip")
    axis.set_ylabel("MB over the imports")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(*sys.argv[2:])
        sys.exit()
    print(
        "| images | zip | first start | second start | memory over that of the imports, first | second | images/s fed |"
    )
    print("|---|---|---|---|---|---|---|")
    *counts, picture = sys.argv[1:] if sys.argv[-1].endswith(".svg") else (*sys.argv[1:], None)
    megabytes = {}
    for images in map(int, counts):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.zip"
            make(path, images)
            runs = []
            for _ in range(2):
                command = [sys.executable, __file__, "read", str(path), f"{folder}/cache"]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
                runs.append(json.loads(done.stdout))
            first, second = runs
            print(
                f"| {images:,} | {path.stat().st_size / 1e6:,.0f} MB | {first['load']:.1f} s | {second['load']:.1f} s "
                f"| {first['memory'] / 1e6:,.0f} MB | {second['memory'] / 1e6:,.0f} MB | {second['feed']:,.0f} |",
                flush=True,
            )
            megabytes[images] = first["memory"] / 1e6, second["memory"] / 1e6
    if picture:
        plot(megabytes, picture)
