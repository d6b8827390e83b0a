"""`python -m sparring`, for torchrun."""

import os
import sys

from sparring.cli import main

main()
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # gloo's threads now and then abort the interpreter's own way out, after all is done
