"""Verbs and flags of other tools, mapped to ours. Consulted before suggestions by spelling."""

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
    "units": (
        "neurons",
        "channels",
        "layers",
        "features",
        "visualize",
        "visualise",
        "dissect",
        "ablate",
        "activations",
    ),
    "screen": ("virtual-screening", "leads", "molecules", "similar"),
    "bench": ("benchmark", "speed", "profile"),
    "compare": ("diff", "versus"),
    "toy": ("toys", "demo", "game"),
}
"""Verb -> its names in other tools."""

OTHER_VERBS = {
    "export": "the weights are RUN/weights/model.safetensors with config.json beside them; in Python, "
    "sparring.open(RUN).system() is a torch.nn.Module with these weights",
    "download": "data sets are downloaded on first use: --data mnist",
    "serve": "there is no server; `sparring report RUN` writes an HTML page",
    "install": "pip install 'sparring[demo,probe,sweep,molecules]' installs all optional dependencies",
    "delete": "a run is a folder: delete the folder",
}
"""Words without a corresponding verb -> the alternative."""

DEVICE_FLAGS = (
    *("--gpu", "--gpus", "--cuda", "--cpu", "--no-cuda", "--gpu-id", "--gpu-ids", "--ngpu", "--mps", "--accelerator"),
    *("--devices", "--local-rank"),
)

DISCRIMINATOR_STEPS = ("--n-critic", "--ncritic", "--d-steps", "--n-dis", "--disc-iters", "--num-d-steps")

FLAGS = {
    "--device": DEVICE_FLAGS,
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
    "--critic-steps": (*DISCRIMINATOR_STEPS, "--discriminator-steps"),
    "--discriminator-steps": (*DISCRIMINATOR_STEPS, "--critic-steps"),
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
    "--method": ("--how", "--mode", "--slerp", "--lerp", "--interpolation"),
    "--waypoints": ("--stops", "--points"),
    "--init": ("--way", "--start-from"),
    "--space": ("--of",),
    "--sample": ("--at", "--index"),
    "--max-sigma": ("--reach", "--range"),
    "--jitter": ("--spread",),
    "--repeats": ("--draws", "--readings", "--repetitions"),
    "--restarts": ("--tries", "--starts", "--inits"),
    "--held-out": ("--val-split", "--validation-split", "--test-size", "--holdout", "--hold-out", "--val"),
    "--json": ("--format", "--as-json"),
    "--no-monitor": ("--silent",),
}
"""Flag -> its names in other tools and in earlier versions."""

OTHER_FLAGS = {
    **dict.fromkeys(
        DEVICE_FLAGS,
        "a GPU is used if PyTorch finds one; select it with CUDA_VISIBLE_DEVICES=1; several: torchrun "
        "--nproc-per-node 4 -m sparring ...",
    ),
    **dict.fromkeys(
        ("--resume", "--continue", "--continue-train", "--checkpoint", "--ckpt", "--load", "--pretrained"),
        "to resume a run: sparring resume RUN",
    ),
    **dict.fromkeys(
        ("--workers", "--num-workers", "--n-workers"),
        "images are decoded once and cached, with one thread per processor; there are no data-loading workers",
    ),
    **dict.fromkeys(("--wandb", "--tensorboard", "--logger"), "logs are in RUN/log.jsonl and RUN/metrics.jsonl"),
    "--model": "the recipe comes first: sparring train RECIPE --data ...; list: sparring recipes",
    "--version": "sparring --version",
}
"""Flags without a counterpart -> the alternative."""

LEARNING_RATES = (
    "--lr",
    "--learning-rate",
    "--rate",
    "--lrate",
    "--d-lr",
    "--g-lr",
    "--lr-d",
    "--lr-g",
    "--dlr",
    "--glr",
)


def meant(verb: str) -> str:
    """A suggestion for an unknown verb, or ""."""
    word = verb.lower().lstrip("-").replace("_", "-")
    if word in OTHER_VERBS:
        return OTHER_VERBS[word]
    matches = [name for name, synonyms in VERBS.items() if word in synonyms]
    return f"did you mean 'sparring {matches[0]}'?" if matches else ""


def meant_flag(flag: str, possible: Iterable[str]) -> str:
    """A suggestion for an unknown flag of a verb with the possible flags, or ""."""
    word, possible = flag.lower().replace("_", "-"), list(possible)
    if word in LEARNING_RATES:
        player = {"d": "discriminator", "g": "generator"}.get(word.removeprefix("--").replace("lr", "").strip("-"), "")
        rates = [name for name in possible if name.endswith("-lr") or name == "--lr"]
        rates = [name for name in rates if player in name] or rates
        if rates:
            return f"did you mean {' or '.join(rates)}?"
    matches = [name for name, synonyms in FLAGS.items() if word in synonyms and name in possible]
    if matches:
        return f"did you mean {'-n' if matches[0] == '--n' else matches[0]}?"
    return OTHER_FLAGS.get(word, "")
