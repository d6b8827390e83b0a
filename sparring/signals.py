"""Stop signals: the first is acknowledged at once and stops training after the round, the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a closed terminal."""

FORWARD_SECONDS = 5.0
"""Time in which torchrun may forward a signal that its processes already received from the terminal."""

SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def stop_signals(acknowledge: Callable[[int], object]) -> Iterator[Callable[[], int]]:
    """Catch the first of the STOPPING signals. Yields a function that returns its number, or 0 if there was none.

    acknowledge  called with the signal number at once, in a separate thread

    A second signal ends the process at once with exit code 128 + its number. Neither waits for the main thread, which
    may be in a computation of minutes: Python runs handlers only between bytecodes, so a thread reads signals from
    Python's wakeup pipe. A SIGHUP that is already ignored (nohup) stays ignored; after any other SIGHUP nothing more is
    written to the terminal. Outside the main thread no signals are caught.
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
            if number not in previous:
                continue  # another handler's signal
            if number == signal.SIGHUP:
                _mute(terminals)
            if not caught:
                caught, since = number, monotonic()
                threading.Thread(target=acknowledge, args=(number,), daemon=True).start()
            elif "TORCHELASTIC_RUN_ID" not in os.environ or monotonic() - since > FORWARD_SECONDS:
                if 2 in terminals:
                    os.write(2, SHOW_CURSOR)
                os._exit(128 + number)

    def handle(number: int, frame: object) -> None:
        nonlocal handled
        handled = number

    signals = [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in signals}
    previous_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield lambda: caught or handled
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.write(writing, b"\0")
        watcher.join()
        os.close(reading)
        os.close(writing)


def _mute(terminals: list[int]) -> None:
    """Redirect output for a closed terminal to /dev/null, as writing to it would raise an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in terminals:
        os.dup2(null, fd)
    os.close(null)
