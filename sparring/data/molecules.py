"""Molecules as images: fingerprints of 13 x 13 pixels from SMILES, with a concentration and the growth of cells.

A fingerprint is the 166 MACCS keys (Durant et al. 2002) as computed by RDKit: key k is pixel k - 1 in row-major order,
255 if the molecule has it. The last 3 pixels are 0.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sparring.data.dataset import Dataset, Spec
from sparring.data.decode import MAX_BAD_FRACTION, format_bad_files
from sparring.data.zip_members import regular
from sparring.errors import SparringError, printable
from sparring.seeds import make_generator

KEYS, SIDE = 166, 13
SPEC = Spec(1, SIDE, SIDE, modality="molecules")
"""The shape of every data set of molecules."""

SUFFIXES = (".smi", ".csv")
COLUMNS = ("smiles", "name", "concentration", "growth")
MAX_SMILES = 5_000  # characters
MAX_TABLE_BYTES = 1_000_000_000  # the file is read as a whole

MEAN, DEVIATION = -5.82, 1.68
"""Of the log10 concentrations (mol/l) in the data of Kadurin et al. 2017, from their code."""

BASE_LOG_IC50 = -4.8
KEY_EFFECTS = {125: -1.2, 121: -0.8, 103: -0.6, 139: 0.6}
"""Synthetic growth is 0 at BASE_LOG_IC50 plus the effects of these keys: aromatic rings, N in a ring, Cl, OH."""


# Images and keys.


def to_keys(images: Tensor) -> Tensor:
    """(n, 1, 13, 13) images in [-1, 1] -> (n, 166) keys in [0, 1]."""
    return (images.flatten(1)[:, :KEYS] + 1) / 2


def to_image(keys: Tensor) -> Tensor:
    """(n, 166) keys in [0, 1] -> (n, 1, 13, 13) images in [-1, 1]; the last 3 pixels are -1."""
    cells = torch.nn.functional.pad(2 * keys - 1, (0, SIDE**2 - KEYS), value=-1.0)
    return cells.view(-1, 1, SIDE, SIDE)


def tanimoto(a: Tensor, b: Tensor) -> Tensor:
    """(n, 166), (m, 166) bool -> (n, m) Tanimoto similarity in [0, 1] (Jaccard 1901); 0 if both have no keys."""
    common = a.float() @ b.float().T
    either = a.sum(1)[:, None] + b.sum(1) - common
    return common / either.clamp(min=1)


# From SMILES.


def fingerprints(smiles: Sequence[str]) -> tuple[Tensor, dict[int, str]]:
    """(M, 1, 13, 13) uint8 fingerprints of the valid molecules, in order, and {position: reason} of the others.

    Raises SparringError if RDKit is not installed.
    """
    require_rdkit()
    from rdkit import rdBase

    cells, bad = [], {}
    console = Console(stderr=True)
    quick = len(smiles) < 5_000 or not console.is_terminal
    with rdBase.BlockLogs():
        read = _reader()
        for position, text in enumerate(
            track(smiles, "reading molecules", console=console, transient=True, disable=quick)
        ):
            try:
                cells.append(read(text))
            except ValueError as error:
                bad[position] = str(error)
    stacked = np.stack(cells) if cells else np.zeros((0, SIDE**2), np.uint8)
    return torch.from_numpy(stacked).view(-1, 1, SIDE, SIDE), bad


def _reader() -> Callable[[str], np.ndarray]:
    """A function from SMILES to (169,) uint8 pixels; it raises ValueError with the reason."""
    from rdkit import Chem
    from rdkit.Chem.rdMolDescriptors import GetMACCSKeysFingerprint

    def read(text: str) -> np.ndarray:
        if len(text) > MAX_SMILES:
            raise ValueError(f"{len(text):,} characters, more than {MAX_SMILES:,}")
        molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            raw = Chem.MolFromSmiles(text, sanitize=False)
            problems = Chem.DetectChemistryProblems(raw) if raw is not None else ()
            raise ValueError(problems[0].Message() if problems else f"'{printable(text[:60])}' is not a valid SMILES")
        if not molecule.GetNumAtoms():
            raise ValueError("no atoms")
        cells = np.zeros(SIDE**2, np.uint8)
        cells[[bit - 1 for bit in GetMACCSKeysFingerprint(molecule).GetOnBits()]] = 255  # bit 0 is unused
        return cells

    return read


def require_rdkit() -> None:
    """Raise SparringError unless RDKit is installed."""
    if importlib.util.find_spec("rdkit") is None:
        raise SparringError("molecules require the package rdkit: pip install 'sparring[molecules]'")


# From files.


def nci() -> Dataset:
    """The first 5,000 compounds of the National Cancer Institute's open collection, from RDKit's data folder."""
    return from_file(nci_file(), "nci")


def nci_file() -> Path:
    """The file of `nci`. Raises SparringError if RDKit is not installed or does not include it."""
    require_rdkit()
    from rdkit import RDConfig

    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    if not path.is_file():
        raise SparringError(
            f"this RDKit does not include '{path}': pip install 'sparring[molecules]', or give a .smi file"
        )
    return path


def from_file(path: Path, name: str | None = None) -> Dataset:
    """The data set of `read`."""
    return read(path, name)[0]


def read(path: Path, name: str | None = None) -> tuple[Dataset, list[tuple[str, str]]]:
    """Read the molecules of a .smi or .csv file as fingerprints with `values` (concentration, growth).

    Also returns (SMILES, name) of each molecule; a name is "" if the file has none.

    .smi  one molecule per line: SMILES, and optionally name, concentration and growth, separated by tabs or spaces; if
          the third field is not a number, it is part of the name. A header is optional
    .csv  the same columns in any order under a header, for example "name,smiles"

    concentration  log10 of mol/l
    growth         of cells at that concentration: 1 unaffected, 0 no growth, -1 all cells dead (percent / 100)

    Missing columns are synthesized, with a note in `.notes`. Bad lines are skipped and listed in `.notes`. Raises
    SparringError if more than 1 % are bad, and for files of another format.
    """
    columns, rows = _table(path)
    has = [column for column in COLUMNS[2:] if column in columns]
    if has == ["growth"]:
        raise SparringError(
            f"'{printable(str(path))}' has growth but no concentration: add the concentration at which it was "
            "measured, as log10 of mol/l"
        )
    lines: list[int] = []
    named_smiles: list[tuple[str, str]] = []
    numbers: list[list[float]] = []
    bad: dict[int, str] = {}
    for line, fields in rows:
        try:
            numbers.append(_numbers(columns, has, fields))
        except ValueError as error:
            bad[line] = str(error)
        else:
            lines.append(line)
            names = fields[columns.index("name")].strip() if "name" in columns[: len(fields)] else ""
            named_smiles.append((fields[columns.index("smiles")].strip(), names))
    images, unread = fingerprints([smiles for smiles, _ in named_smiles])
    bad |= {lines[position]: reason for position, reason in unread.items()}
    named = {f"line {line}": bad[line] for line in sorted(bad)}
    if len(bad) > MAX_BAD_FRACTION * len(rows):
        raise SparringError(
            f"{len(bad):,} of {len(rows):,} molecules in '{printable(str(path))}' cannot be used, more than "
            f"{MAX_BAD_FRACTION:.0%}: {format_bad_files(named)}; repair or remove them"
        )
    good = [values for line, values in zip(lines, numbers, strict=True) if line not in bad]
    values, notes = _fill_missing(images, torch.tensor(good).view(len(images), len(has)))
    if bad:
        notes = (f"skipped {len(bad)} of {len(rows):,} molecules: {format_bad_files(named)}", *notes)
    if others := [column for column in columns if column not in COLUMNS]:
        notes = (f"ignored the columns {', '.join(map(printable, others))}", *notes)
    data = Dataset(name or path.resolve().stem, images, values=values, notes=notes, modality="molecules")
    return data, [pair for position, pair in enumerate(named_smiles) if position not in unread]


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and (line number, fields) of every molecule."""
    is_csv = path.suffix.lower() == ".csv"
    try:
        with regular(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > MAX_TABLE_BYTES:
                raise SparringError(
                    f"'{printable(str(path))}' has {size:,} bytes, more than {MAX_TABLE_BYTES:,}: split it"
                )
            text = file.read().decode("utf-8-sig").replace("\r\n", "\n")
        rows = list(_of_csv(text) if is_csv else _of_smi(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SparringError(f"cannot read '{printable(str(path))}' ({error})") from error
    place = f"'{printable(str(path))}'"
    if not rows:
        raise SparringError(f"there are no molecules in {place}")
    first = [field.strip().lower() for field in rows[0][1]]
    if "smiles" in first:
        columns, rows = first, rows[1:]
    elif is_csv:
        raise SparringError(
            f"the first line of {place} must name a column 'smiles' and optionally {', '.join(COLUMNS[1:])}; "
            f"it is '{printable(','.join(rows[0][1])[:80])}'; for labels of images, give their folder as data and this "
            "table with --labels-from"
        )
    else:
        widths = Counter(len(fields) for _, fields in rows if len(fields) > 2 and _is_number(fields[2]))
        columns = list(COLUMNS[: widths.most_common(1)[0][0] if 2 * widths.total() > len(rows) else 2])
    repeated = next((column for column in COLUMNS if columns.count(column) > 1), None)
    if repeated:
        raise SparringError(f"{place} has two columns '{repeated}': remove one")
    if not rows:
        raise SparringError(f"there are no molecules in {place}, only a header")
    return columns, rows


def _of_csv(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for fields in reader:
        if any(field.strip() for field in fields):
            yield reader.line_num, fields


def _of_smi(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.split("\t") if "\t" in line else line.split()


def _numbers(columns: list[str], has: list[str], fields: list[str]) -> list[float]:
    """Parse the numbers of a line. Raises ValueError with the reason."""
    if len(fields) <= columns.index("smiles") or (has and len(fields) != len(columns)):
        raise ValueError(f"{len(fields)} columns instead of {len(columns)}")
    numbers = []
    for column in has:
        text = fields[columns.index(column)].strip()
        if not _is_number(text):
            raise ValueError(f"{column} '{printable(text[:40])}' is not a number")
        value = float(text)
        if column == "concentration" and not -20 <= value <= 0:
            raise ValueError(f"concentration {value:g} is not a log10 of mol/l from -20 to 0")
        if column == "growth" and not -5 <= value <= 5:
            raise ValueError(f"growth {value:g} is not a fraction from -1 to 1: divide percent by 100")
        numbers.append(value)
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# Synthetic values.


def _fill_missing(images: Tensor, measured: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Complete the first columns `measured` (M, 0 to 2) to (M, 2) concentration and growth; also returns notes."""
    notes: list[str] = []
    if measured.shape[1] == 0:
        draws = torch.randn(len(images), 1, generator=make_generator("synthetic concentration"))
        measured = MEAN + DEVIATION * draws
        notes.append(
            f"synthetic concentration: the file has none; log10 of mol/l is drawn from N({MEAN}, {DEVIATION}^2)"
        )
    if measured.shape[1] == 1:
        growth = synthetic_growth(images.flatten(1)[:, :KEYS] > 0, measured[:, 0])
        measured = torch.cat([measured, growth[:, None]], 1)
        effects = "".join(f" {'-' if shift < 0 else '+'} {abs(shift)} k{key}" for key, shift in KEY_EFFECTS.items())
        notes.append(
            "synthetic growth: the file has none, nothing was measured; it is 1 - 2 / (1 + 10^(h - concentration)) "
            f"with h = {BASE_LOG_IC50}{effects}, where kN is 1 if the molecule has MACCS key N"
        )
    return measured.float(), tuple(notes)


def synthetic_growth(keys: Tensor, concentration: Tensor) -> Tensor:
    """(n, 166) bool, (n,) log10 of mol/l -> (n,) growth from 1 to -1, 0 at a concentration that depends on the keys.

    A Hill curve with an invented potency: a learnable function, not a fact about any molecule.
    """
    half = BASE_LOG_IC50 + sum(shift * keys[:, key - 1].float() for key, shift in KEY_EFFECTS.items())
    return 1 - 2 / (1 + torch.exp(math.log(10) * (half - concentration)))
