"""`python -m sparring`, for torchrun."""

import os
import sys

from sparring.cli import main

if int(os.environ.get("WORLD_SIZE", "1")) == 1:
    main()
else:
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)  # gloo's threads occasionally abort a normal exit
