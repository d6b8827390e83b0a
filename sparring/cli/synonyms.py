"""Words of other tools, and what they are called here: asked before the nearest spelling is."""

from __future__ import annotations

from collections.abc import Iterable

VERBS = {
    "sample": ("generate", "gen", "generator", "synthesize", "synthesise", "create", "draw", "make", "images"),
    "train": ("fit", "learn", "start", "new", "run", "play"),
    "resume": ("continue", "restart", "go-on"),
    "evaluate": ("eval", "test", "score", "fid", "fd", "measure", "metrics", "metric", "validate"),
    "report": ("plot", "show", "view", "summary", "open", "html"),
    "runs": ("ls", "status", "history", "experiments"),
    "recipes": ("models", "model", "presets", "architectures", "networks", "recipe", "info"),
    "check-data": ("check", "data", "dataset", "datasets", "inspect", "verify"),
    "sweep": ("tune", "search", "optimize", "optimise", "hyperparameters", "optuna"),
    "interpolate": ("morph", "walk", "interpolation"),
    "invert": ("project", "projection", "inversion", "encode"),
    "reconstruct": ("decode", "autoencode", "reconstruction"),
    "classify": ("predict", "infer", "inference"),
    "translate": ("convert", "transform", "style-transfer"),
    "neighbors": ("neighbours", "nearest", "memorization", "knn"),
    "bench": ("benchmark", "speed", "profile"),
    "compare": ("diff", "versus"),
    "toy": ("toys", "demo", "game"),
}
"""Verb -> what other tools call it."""

SAID = {
    "export": "the weights are RUN/weights/model.safetensors with config.json beside them; in Python, "
    "sparring.open(RUN).system() is a torch.nn.Module with these weights",
    "download": "data sets are fetched when they are first used: --data mnist",
    "serve": "there is no server; sparring report RUN makes one page",
    "install": "pip install 'sparring[demo,probe,sweep,molecules]' installs what some verbs need",
    "delete": "a run is a folder: delete that",
}
"""What there is no verb for, and what there is instead."""

FLAGS = {
    "--rounds": (
        *("--epochs", "--epoch", "--num-epochs", "--n-epochs", "--max-epochs", "--niter", "--n-iter", "--num-steps"),
        *(
            "--iterations",
            "--iters",
            "--max-iter",
            "--max-steps",
            "--train-steps",
            "--kimg",
            "--total-kimg",
            "--length",
        ),
        "--steps",
    ),
    "--batch": ("--batch-size", "--batchsize", "--bs", "--minibatch", "--n-batch"),
    "--latent-dim": ("--latent", "--nz", "--z-dim", "--zdim", "--latent-size", "--noise-dim", "--z", "--code-size"),
    "--size": ("--image-size", "--img-size", "--imsize", "--resolution", "--res", "--crop-size", "--load-size"),
    "--channels": ("--nc", "--img-channels", "--colors", "--colours", "--gray", "--grey", "--grayscale"),
    "--width": ("--ngf", "--ndf", "--nf", "--ch", "--base-channels", "--filters", "--features"),
    "--data": ("--dataset", "--dataroot", "--data-dir", "--data-path", "--input", "--images", "--train-data", "--path"),
    "--out": (
        *("--output", "--outdir", "--out-dir", "--output-dir", "--save-dir", "--logdir", "--log-dir", "--results"),
        *("--checkpoint-dir", "--checkpoints-dir", "--outf", "--save", "--to", "--file"),
    ),
    "--n": ("--num", "--count", "--number", "--num-samples", "--n-samples", "--samples", "--num-images", "--nsamples"),
    "--seed": ("--manual-seed", "--manualseed", "--random-seed", "--random-state", "--seeds"),
    "--ema-decay": ("--average", "--ema", "--ema-beta", "--decay"),
    "--precision": ("--amp", "--fp16", "--bf16", "--half", "--mixed-precision", "--dtype", "--fp32"),
    "--grad-accum": ("--accumulate", "--gradient-accumulation-steps", "--accumulation", "--n-accumulate"),
    "--threads": ("--num-threads", "--cores", "--cpus"),
    "--critic-steps": ("--n-critic", "--ncritic", "--d-steps", "--n-dis", "--disc-iters", "--num-d-steps"),
    "--gp-weight": ("--penalty", "--gp", "--lambda-gp", "--gradient-penalty"),
    "--gamma": ("--r1", "--r1-gamma", "--lambda-r1"),
    "--beta1": ("--b1", "--beta-1", "--momentum", "--beta"),
    "--game": ("--loss", "--gan-mode", "--gan-loss", "--criterion", "--objective", "--loss-type"),
    "--labels": ("--class", "--label", "--classes", "--y", "--category"),
    "--classes": ("--class", "--label", "--labels", "--only"),
    "--truncation": ("--trunc", "--psi", "--truncation-psi", "--threshold"),
    "--save-every": (
        "--save-freq",
        "--save-interval",
        "--checkpoint-every",
        "--snap",
        "--ckpt-every",
        "--save-epoch-freq",
    ),
    "--sample-every": ("--show-every", "--sample-interval", "--display-freq", "--sample-freq", "--image-every"),
    "--eval-every": ("--measure-every", "--fid-every", "--eval-interval", "--eval-freq", "--evaluate-every"),
    "--log-every": ("--print-freq", "--log-interval", "--log-freq", "--print-every", "--verbose"),
    "--extractor": ("--judge", "--features", "--inception", "--net"),
    "--recipe": ("--model", "--arch", "--architecture", "--network", "--preset", "--config", "--cfg"),
    "--how": ("--mode", "--slerp", "--lerp", "--interpolation"),
    "--restarts": ("--tries", "--starts", "--inits"),
    "--held-out": ("--val-split", "--validation-split", "--test-size", "--holdout", "--hold-out", "--val"),
    "--json": ("--format", "--as-json"),
    "--no-monitor": ("--silent",),
}
"""Flag -> what other tools call it."""

GPU = (
    "a GPU is used where PyTorch sees one: choose with CUDA_VISIBLE_DEVICES=1, or ACCELERATE_USE_CPU=true for the CPU; "
    "several: torchrun --nproc-per-node 4 -m sparring ..."
)
ELSEWHERE = {
    **dict.fromkeys(
        ("--gpu", "--gpus", "--device", "--cuda", "--cpu", "--no-cuda", "--gpu-id", "--gpu-ids", "--ngpu"), GPU
    ),
    **dict.fromkeys(("--mps", "--accelerator", "--devices", "--local-rank"), GPU),
    **dict.fromkeys(
        ("--resume", "--continue", "--continue-train", "--checkpoint", "--ckpt", "--load", "--pretrained"),
        "to go on with a run: sparring resume RUN",
    ),
    **dict.fromkeys(
        ("--workers", "--num-workers", "--n-workers"),
        "images are decoded once, by a thread for each processor; there are no workers to count",
    ),
    **dict.fromkeys(("--wandb", "--tensorboard", "--logger"), "the numbers are in RUN/log.jsonl and RUN/metrics.jsonl"),
    "--model": "the recipe comes first: sparring train RECIPE --data ...; all of them: sparring recipes",
    "--version": "sparring --version",
}
"""Flags that no verb needs, and what there is instead."""

RATES = ("--lr", "--learning-rate", "--rate", "--lrate", "--d-lr", "--g-lr", "--lr-d", "--lr-g", "--dlr", "--glr")


def meant(verb: str) -> str:
    """What somebody means who gives this word as a verb; "" where nobody knows."""
    word = verb.lower().lstrip("-").replace("_", "-")
    if word in SAID:
        return SAID[word]
    found = [name for name, others in VERBS.items() if word in others]
    return f"did you mean 'sparring {found[0]}'?" if found else ""


def meant_flag(flag: str, possible: Iterable[str]) -> str:
    """What somebody means who gives this flag to a verb that has the possible ones; "" where nobody knows."""
    word, possible = flag.lower().replace("_", "-"), list(possible)
    if word in RATES:
        player = {"d": "discriminator", "g": "generator"}.get(word.removeprefix("--").replace("lr", "").strip("-"), "")
        rates = [name for name in possible if name.endswith("-lr") or name == "--lr"]
        rates = [name for name in rates if player in name] or rates
        if rates:
            return f"did you mean {' or '.join(rates)}?"
    found = [name for name, others in FLAGS.items() if word in others and name in possible]
    if found:
        return f"did you mean {'-n' if found[0] == '--n' else found[0]}?"
    return ELSEWHERE.get(word, "")
