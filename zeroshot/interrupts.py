"""Ctrl-C and SIGTERM as a KeyboardInterrupt in the main thread, held back while MindSpore imports or compiles.

MindSpore installs signal handlers of its own while it is imported and while it compiles a graph: an interrupt then
aborts the process, with C++ dumps on the terminal and files in the current folder. Here the signals are blocked in all
threads; one thread waits for them and passes them on when the main thread can take one.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAKE = getattr(signal, "SIGUSR1", None)  # interrupts a system call of the main thread; absent on Windows
AGAIN = 0.05  # seconds after which an interrupt that Python dropped is raised once more
INTERRUPTED = 130  # exit status of a second Ctrl-C, which ends the process at once

_active = False  # whether `handled` is in force
_held_back = 0  # depth of `uninterrupted`
_pending = False  # whether an interrupt waits for the end of `uninterrupted`


@contextmanager
def handled() -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM a KeyboardInterrupt in the main thread; a second one while one waits ends the process.

    Within another `handled`, in another thread than the main one, or where somebody else handles SIGTERM, such as a
    launcher, no handler is set.
    """
    global _active, _pending
    in_main_thread = threading.current_thread() is threading.main_thread()
    if _active or not in_main_thread or WAKE is None or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        if not _active and hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a process that was started from a handled one
        yield
        return
    previous, previous_hook = signal.signal(WAKE, _interrupt), sys.unraisablehook
    main_thread = threading.get_ident()

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        """An interrupt in the midst of a destructor, which Python would drop."""
        if _active and unraisable.exc_type is KeyboardInterrupt:
            threading.Timer(AGAIN, _wake, (main_thread,)).start()
        else:
            previous_hook(unraisable)

    sys.unraisablehook = raise_again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # threads that start from now on inherit it
    _active, _pending = True, False
    threading.Thread(target=_wait_for_signals, args=(main_thread,), daemon=True).start()
    try:
        yield
    finally:
        _active = False
        if (
            threading.active_count() > 1
        ):  # threads of MindSpore may have handlers: the signals stay blocked until the end
            mask = mask | set(SIGNALS)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(WAKE, previous)
        sys.unraisablehook = previous_hook


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds an interrupt back until the block ends, in the main thread; elsewhere Python raises none anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _active:
        yield from _held_back_by_depth()
    else:
        yield from _held_back_by_handler()


@contextmanager
def unblocked() -> Iterator[None]:
    """Lets the signals through while other programs are started, which inherit what this thread blocks."""
    if not _active:
        yield
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _held_back_by_depth() -> Iterator[None]:
    global _held_back, _pending
    _held_back += 1
    try:
        yield
    finally:
        _held_back -= 1
        if _pending and not _held_back:
            _pending = False
            raise KeyboardInterrupt


def _held_back_by_handler() -> Iterator[None]:
    """For callers from Python, whose handlers are their own."""
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received and callable(previous):
            previous(received[0], None)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The handler of `WAKE`, in the main thread."""
    global _pending
    if not _active:
        return
    if _held_back:
        _pending = True
    else:
        raise KeyboardInterrupt


def _wait_for_signals(main_thread: int) -> None:
    while True:
        signal.sigwait(SIGNALS)
        if _active and _pending:
            sys.stderr.write("interrupted\n")
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        _wake(main_thread)


def _wake(main_thread: int) -> None:
    if _active and WAKE is not None:
        signal.pthread_kill(main_thread, WAKE)
