"""CycleGAN on the emoji of two vendors: folders without pairs to learn from, and pairs that nothing was learned from.

    python benchmarks/emoji.py emoji-google.zip emoji-twitter.zip FOLDER

writes FOLDER/a and FOLDER/b (disjoint file names: 45 % of them each) and FOLDER/pairs-a and FOLDER/pairs-b (the other
10 %, the same names in both). Then:

    sparring train cyclegan --data-a FOLDER/a --data-b FOLDER/b --size 64 ...
    sparring evaluate RUN --pairs-a FOLDER/pairs-a --pairs-b FOLDER/pairs-b

measures L1 and SSIM to the other vendor's picture in both directions, beside those of the picture itself: of copying.
Both zips hold the same file names (code points), as the npm packages emoji-datasource-google and -twitter do.
"""

import argparse
import random
import zipfile
from pathlib import Path

HELD_OUT, SEED = 0.1, 0


def split(names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Names of a only, of b only, and of the pairs."""
    names = sorted(names)
    random.Random(SEED).shuffle(names)
    pairs = round(HELD_OUT * len(names))
    half = (len(names) - pairs) // 2
    return names[pairs : pairs + half], names[pairs + half :], names[:pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="zip of domain a")
    parser.add_argument("second", type=Path, help="zip of domain b, with the same file names")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with zipfile.ZipFile(given.first) as first, zipfile.ZipFile(given.second) as second:
        of_a, of_b, pairs = split([*set(first.namelist()) & set(second.namelist())])
        for archive, names, into in (
            (first, of_a, "a"),
            (second, of_b, "b"),
            (first, pairs, "pairs-a"),
            (second, pairs, "pairs-b"),
        ):
            (given.folder / into).mkdir(parents=True, exist_ok=True)
            for name in names:
                (given.folder / into / Path(name).name).write_bytes(archive.read(name))
            print(f"{given.folder / into}: {len(names):,} images")


if __name__ == "__main__":
    main()
