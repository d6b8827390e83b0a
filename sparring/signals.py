"""Asked to stop: the first signal is acknowledged at once and obeyed after the round, the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the polite kill, and a terminal that was closed."""

PASSED_ON = 5.0
"""Seconds in which torchrun passes on to its processes the signal that they had from the terminal themselves."""

SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def stop_signals(acknowledge: Callable[[int], object]) -> Iterator[Callable[[], int]]:
    """Within, the first of the STOPPING signals only asks: yields a function that returns its number, or 0 so far.

    acknowledge  called with the number at once, in a thread of its own

    A second one ends the process at once with 128 + its number. Neither waits for the main thread, which may be in a
    computation of minutes: Python's handlers run between two of its lines, so signals are read from Python's wakeup
    pipe by a thread. A SIGHUP that is ignored already (nohup) stays ignored; after another the terminal is written to
    no more. In another thread than the main one nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    caught = handled = 0
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch() -> None:
        nonlocal caught
        since = 0.0
        while number := os.read(reading, 1)[0]:
            if number not in before:
                continue  # a handler of somebody else
            if number == signal.SIGHUP:
                _mute(terminals)
            if not caught:
                caught, since = number, monotonic()
                threading.Thread(target=acknowledge, args=(number,), daemon=True).start()
            elif "TORCHELASTIC_RUN_ID" not in os.environ or monotonic() - since > PASSED_ON:
                if 2 in terminals:
                    os.write(2, SHOW_CURSOR)
                os._exit(128 + number)

    def handle(number: int, frame: object) -> None:
        nonlocal handled
        handled = number

    wanted = [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in wanted}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield lambda: caught or handled
    finally:
        signal.set_wakeup_fd(woken)
        for number, old in before.items():
            signal.signal(number, old)
        os.write(writing, b"\0")
        watcher.join()
        os.close(reading)
        os.close(writing)


def _mute(terminals: list[int]) -> None:
    """What is written to a terminal that is gone would be an error; from now on it is lost instead."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for fd in terminals:
        os.dup2(nothing, fd)
    os.close(nothing)
