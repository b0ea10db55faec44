"""A rank's connection to the scheduler: joined at its making, then what the other ranks say and how they fare."""

import io
import json
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from zeroshot import scheduler
from zeroshot.errors import ZeroshotError
from zeroshot.scheduler import Seat

AGAIN = 0.2  # seconds between two tries to reach the scheduler

log = logging.getLogger(__name__)


class ElsewhereError(ZeroshotError):
    """What another rank failed of."""


class Line:
    """This rank's connection to the scheduler."""

    def __init__(self, place: Seat) -> None:
        self.place, self.rank = place, -1 if place.rank is None else place.rank  # the scheduler refuses one without
        self.last_acts: list[Callable[[str], object]] = []  # when another rank was killed
        self._speak_as_rank()
        self._failures: dict[int, ElsewhereError] = {}  # by job
        self._job = 0  # how many are over
        self._gone: dict[int, int] = {}  # status by rank
        self._left = False
        self._inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._changed = threading.Condition()
        self._socket = self._reached()
        scheduler.keep_alive(self._socket)
        self._file = self._socket.makefile("rb")
        self._send_line(scheduler.hello(place))
        self._welcome()
        go = self._go()
        self.port, self.local_rank, self.local_size = go["port"], go["local_rank"], go["local_size"]
        _take_cores(self.local_rank, self.local_size)
        threading.Thread(target=self._listen, daemon=True, name="ranks").start()

    def exchange(self, value: Any) -> list[Any]:
        """Each rank's value, small and of plain JSON; ElsewhereError if one has failed instead."""
        self.check()
        self._send("say", value)
        while True:
            kind, answer = self._inbox.get()
            if kind == "answers":
                return answer  # type: ignore[no-any-return]
            self.check()

    def check(self) -> None:
        """Raises ElsewhereError if another rank has failed in this job or has ended."""
        if self._job in self._failures:
            raise self._failures[self._job]
        self._check_gone()

    def _check_gone(self) -> None:
        for number, status in self._gone.items():
            raise ElsewhereError(f"rank {number} has ended before this run, with status {status}: see its log")

    def end(self, line: str | None) -> list[str | None]:
        """The lines of the ranks that failed, by rank; waits until this job is over for all."""
        if line is not None:
            self._send("fail", line)
        self._send("end", line)
        while True:
            kind, lines = self._inbox.get()
            if kind == "ended":
                self._job += 1
                return lines  # type: ignore[no-any-return]
            self._check_gone()

    def leave(self, status: int) -> int:
        """As `ranks.leave`."""
        self._left = True
        self._send("bye", status)
        if self.rank == 0:
            return status
        with self._changed:
            self._changed.wait_for(lambda: 0 in self._gone)
        return status or self._gone[0]

    def _reached(self) -> socket.socket:
        """A connection to the scheduler, waited for as long as msrun allows."""
        started, told = time.monotonic(), False
        while True:
            with suppress(OSError):
                connection = socket.create_connection((self.place.host, self.place.port), timeout=scheduler.TOLD)
                if connection.getsockname() != connection.getpeername():  # a port may be connected with itself
                    return connection
                connection.close()
            waited = time.monotonic() - started
            what = (
                f"rank {self.rank} of {self.place.size} reaches no scheduler at {self.place}: is msrun started on that "
                "host, is --master_port the same on all, does a firewall let it through"
            )
            if self.place.patience is not None and waited > self.place.patience:
                raise ZeroshotError(what)
            if not told and waited > scheduler.TOLD:
                told = True
                log.error("waiting: %s", what)
            time.sleep(AGAIN)

    def _welcome(self) -> None:
        """Sees to it that it is our scheduler which answers, and that it takes us."""
        try:
            kind, value = self._received()
        except (OSError, ValueError) as error:
            raise ZeroshotError(
                f"{self.place} is taken by another program: choose another port with --master_port=PORT"
            ) from error
        if kind == "refused":
            raise ZeroshotError(value)
        self._socket.settimeout(None)

    def _go(self) -> Any:
        """The scheduler's word that all ranks are there."""
        while True:
            try:
                kind, value = self._received()
            except (OSError, ValueError) as error:
                raise ZeroshotError(f"the scheduler at {self.place} has ended: its log says why") from error
            if kind == "go":
                return value
            if kind != "waiting":
                raise ZeroshotError(value)
            log.error("waiting: %s", value)

    def _received(self) -> tuple[str, Any]:
        kind, value = json.loads(self._file.readline())
        return str(kind), value

    def _listen(self) -> None:
        """Takes what the scheduler says, for as long as it says something."""
        while True:
            try:
                kind, value = self._received()
            except (OSError, ValueError):
                kind, value = "lost", f"the scheduler at {self.place} was killed or ended: start the same command again"
            if kind == "lost" and self._left:  # there is nothing that could be lost any more
                kind, value = "bye", [0, 1]
            elif kind == "lost":
                self._end_at_once(value)
            if kind == "failed":
                job, number, line = value
                self._failures[job] = ElsewhereError(f"rank {number}: {line}")
            if kind == "bye":
                with self._changed:
                    self._gone.setdefault(*value)
                    self._changed.notify_all()
                if self._left and 0 in self._gone:
                    return
            self._inbox.put((kind, value))

    def _end_at_once(self, line: str) -> None:
        log.error(line)
        for act in self.last_acts:
            with suppress(Exception):  # it ends in any case
                act(line)
        logging.shutdown()
        os._exit(1)

    def _speak_as_rank(self) -> None:
        """Ranks over 0 say on stderr alone what went wrong for them, as the rank that they are."""
        if self.rank == 0:
            return
        sys.stderr = _Marked(sys.stderr, f"rank {self.rank}: ")
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  for the rest of the process
        logging.getLogger("zeroshot").setLevel(logging.ERROR)
        logging.getLogger("zeroshot.feature_store").setLevel(logging.WARNING)  # its warnings are this rank's own

    def _send(self, kind: str, value: Any) -> None:
        self._send_line([kind, value])

    def _send_line(self, message: Any) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # `_listen` notices it, and tells


class _Marked(io.TextIOBase):
    """A stream whose every line begins with a mark."""

    def __init__(self, stream: TextIO, mark: str) -> None:
        self._stream, self._mark, self._fresh = stream, mark, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._stream.write(self._mark * self._fresh + line)
            self._fresh = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def _take_cores(local_rank: int, local_size: int) -> None:
    """Keeps to this rank's share of the machine's cores, unless msrun has bound it to some already (--bind_core)."""
    with suppress(AttributeError, OSError):  # not everywhere
        cores = sorted(os.sched_getaffinity(0))
        if set(cores) != os.sched_getaffinity(os.getppid()):
            return
        start = local_rank * len(cores) // local_size
        stop = max(start + 1, (local_rank + 1) * len(cores) // local_size)
        os.sched_setaffinity(0, cores[start:stop])
