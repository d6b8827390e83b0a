"""Started by torchrun in test_referee.py: plays a few rounds and leaves the weights behind."""

import json
import os
import sys

import safetensors.torch
import torch
from toys import gan, referee, state

from sparring.systems.r1 import PenalisedGAN

if __name__ == "__main__":
    torch.set_num_threads(1)
    judge = referee(gan(PenalisedGAN).double(), batch=16)
    logged = [judge.agree(judge.play()) for _ in range(5)]
    rows = judge.feeds[0].rows("train", 3).tolist()
    with open(f"{sys.argv[1]}.rows{judge.processes.process_index}", "w") as file:
        json.dump(rows, file)
    if judge.processes.is_main_process:
        safetensors.torch.save_file({k: v.contiguous() for k, v in state(judge).items()}, sys.argv[1])
        with open(sys.argv[1] + ".json", "w") as file:
            json.dump(logged, file)
    judge.processes.wait_for_everyone()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads now and then abort the interpreter's own way out, after all is done
