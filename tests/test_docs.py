"""The documents name files, flags and messages that exist."""

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

import sparring
from sparring.cli import VERBS, main
from sparring.cli.toy import TOYS
from sparring.recipes import RECIPES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]

FOREIGN = {
    *("--nnodes", "--nproc-per-node", "--rdzv-id", "--rdzv-backend", "--rdzv-endpoint"),  # torchrun
    *("--multi_gpu", "--num_processes", "--cpu"),  # accelerate
    *("--nodes", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task", "--time", "--signal", "--requeue"),  # Slurm
    *("--target", "--strict", "--minutes", "--packages"),  # pip, mypy, benchmarks/gpu.py
    *("--resume", "--epochs", "--lr", "--gpu", "--latent", "--average"),  # other tools, and names before a change
}


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def flags():
    """All flags of the command line."""
    words = [[verb] for verb in VERBS] + [["train", name] for name in RECIPES]
    words += [["toy", name] for name in TOYS] + [["sweep", "dcgan"]]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        for each in words:
            with contextlib.suppress(SystemExit):
                main([*each, "--help"])
    named = set(re.findall(r"--(?:\[no-\])?[a-z][a-z0-9-]*", text.getvalue()))
    return {flag.replace("[no-]", negation) for flag in named for negation in ("", "no-")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_flags_exist(document, flags):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", document.read_text()))
    assert named - flags - FOREIGN == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(document):
    for file, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]*))?\)", document.read_text()):
        target = document.parent / file if file else document
        assert target.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_files_exist(document):
    for file in re.findall(r"`((?:sparring|tests|benchmarks|scripts|docs)/[\w./-]+)`", document.read_text()):
        assert (ROOT / file).exists(), file


def test_messages_in_troubleshooting_are_those_of_the_code():
    texts = "\n".join(text for file in Path(sparring.__file__).parent.rglob("*.py") for text in strings(file))
    quoted = [
        line.strip()
        for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
        if line.startswith("    ") and not line.startswith("    sparring ")
    ]
    assert len(quoted) > 20
    parts = [part.strip(" ;:") for line in quoted for part in re.split(r"\.\.\.|\b50\b|\b1%|: |; ", line)]
    assert [part for part in parts if part not in texts] == []


def strings(file):
    """All texts in a module; the values in f-strings are left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "\0".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
