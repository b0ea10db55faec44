"""The process that msrun starts beside the ranks: it joins them, passes on what they say, and notices who is gone.

It holds a connection to every rank, at the address that msrun was given, and starts MindSpore's own scheduler behind it
at a free port. Neither it nor a rank needs MindSpore to join or to be told of a fault: MindSpore's calls hold Python's
lock while they wait, and notice a killed rank after most of a minute, this notices at once and on every host.

A message is a line of JSON, `[kind, value]`. A rank says hello, then any of

- `say`: its part of an exchange; once every rank has said something, each gets `answers`, a list by rank,
- `fail`: it can't go on with this job; the others get `failed` at once, with the job, the rank and its line,
- `end`: its job is over, well or not; once it is for every rank, each gets `ended`, the lines by rank or null,
- `bye`: it ends in good order, with this exit status; the others get `bye`.

A rank whose connection ends without a `bye` was killed: the others get `lost`, and the run is over.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

TOLD = 20.0  # seconds of waiting after which it is told who is waited for
PATIENCE = 60.0  # seconds without a new rank after which joining is given up
UNASKED = 600  # --cluster_time_out, if nobody gave it
FAREWELL = 2.0  # seconds that the ranks may take to hear why it is over
STRANGE = 5.0  # seconds that ranks of another msrun on this machine wait: that it is of this run is not sure
LONGEST = 1 << 26  # bytes of a message
ALIVE = (10, 5, 3)  # a host without power is noticed after so many idle seconds, and then so many between so many tries

Message = tuple[str, Any]


@dataclass(frozen=True)
class Seat:
    """What msrun told this process of its place: which rank of how many, and where the scheduler is."""

    rank: int | None  # None: msrun gave none
    size: int
    host: str
    port: int
    patience: float | None  # seconds, None for any length

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def seat(role: str) -> Seat | None:
    """This process's place, if msrun started it in this role, `MS_SCHED` or `MS_WORKER`; else None."""
    given = os.environ
    if given.get("MS_ROLE") != role:
        return None
    rank, limit = given.get("MS_NODE_ID"), int(given.get("MS_TOPO_TIMEOUT", UNASKED))  # RANK_ID is 0 where none is set
    patience = PATIENCE if limit == UNASKED else None if limit < 0 else float(limit)
    return Seat(
        rank=None if rank is None else int(rank),
        size=int(given["MS_WORKER_NUM"]),
        host=given["MS_SCHED_HOST"],
        port=int(given["MS_SCHED_PORT"]),
        patience=patience,
    )


def serve(place: Seat) -> int:
    """Does the scheduler's work until the ranks are done, and gives its exit status: 0, or 1 if anything failed."""
    try:
        return asyncio.run(_Scheduler(place).run())
    except OSError as error:
        reason = error.strerror or str(error)
        _tell(f"ERROR: {place} can't be listened at ({reason}): choose another port with --master_port=PORT")
        return 1


def keep_alive(connection: socket.socket) -> None:
    """Has the system look now and then whether the other side is there, since a host without power says nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(AttributeError, OSError):  # not everywhere
        for option, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), ALIVE, strict=True):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def machine() -> str:
    """What tells this machine, or this container, from others: processes are numbered apart in each."""
    found = socket.gethostname()
    with contextlib.suppress(OSError):
        found += f" {os.stat('/proc/self/ns/pid').st_ino}"
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            found += f" {file.read().strip()}"
    return found


def hello(place: Seat) -> dict[str, Any]:
    """What a rank says of itself first."""
    return {
        "rank": place.rank,
        "size": place.size,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "host": socket.gethostname(),
        "machine": machine(),
    }


@dataclass
class _Rank:
    about: dict[str, Any]
    writer: asyncio.StreamWriter
    status: int | None = None  # once it has said bye
    gone: bool = False

    def __str__(self) -> str:
        return f"rank {self.about['rank']} (process {self.about['pid']} on {self.about['host']})"


@dataclass
class _Scheduler:
    place: Seat
    ranks: dict[int, _Rank] = field(default_factory=dict)
    said: dict[int, Any] = field(default_factory=dict)  # of the exchange that goes on
    ended: dict[int, str | None] = field(default_factory=dict)  # of the job that goes on
    job: int = 0  # how many jobs are over
    failed: bool = False  # whether a rank of it did
    started: bool = False  # whether all had come
    open: dict["asyncio.Task[None]", asyncio.StreamWriter] = field(default_factory=dict)  # connections

    async def run(self) -> int:
        self.over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()  # with why, if it failed
        self.came = asyncio.Event()
        server = await asyncio.start_server(self._serve, self.place.host, self.place.port, limit=LONGEST)
        work = asyncio.create_task(self._work())
        why = await self.over
        if why is not None:
            _tell(f"ERROR: {why}")  # msrun shows the lines of our log with this word
        work.cancel()
        server.close()
        for writer in self.open.values():
            writer.close()
        await asyncio.wait([work, *self.open], timeout=FAREWELL)
        return 1 if why is not None else int(any(rank.status for rank in self.ranks.values()))

    async def _work(self) -> None:
        """Waits for the ranks, then runs MindSpore's own scheduler for them."""
        if not await self._all_came():
            return
        surroundings = {**os.environ, "MS_SCHED_PORT": str(self.inner), "MS_TOPO_TIMEOUT": "-1"}
        command = (sys.executable, "-m", "zeroshot.scheduler", str(os.getpid()))
        process = await asyncio.create_subprocess_exec(*command, env=surroundings)
        try:
            status = await process.wait()
            if status != 0:
                self._lost(f"MindSpore's scheduler ended with status {status}: start the same command again")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _all_came(self) -> bool:
        """Waits for the ranks, tells of those that don't come, and gives up when none has come for too long."""
        patience = self.place.patience
        told = False
        while not self.started:
            self.came.clear()
            step = TOLD if patience is None else min(TOLD, patience / 3)
            rest = None if told and patience is None else step if not told else (patience or 0) - step
            try:
                await asyncio.wait_for(self.came.wait(), rest)
                told = False
            except (TimeoutError, asyncio.TimeoutError):
                missing = sorted(set(range(self.place.size)) - set(self.ranks))
                line = (
                    f"{len(self.ranks)} of {self.place.size} ranks have joined at {self.place}, "
                    f"missing {', '.join(map(str, missing))}: --worker_num must be the sum of all hosts' "
                    "--local_worker_num, msrun must run on each host with its own --node_rank, and no firewall between"
                )
                if told:
                    self._lost(line)
                    return False
                told = True
                _tell(f"waiting: {line}")
                first = {self.ranks[rank].about["machine"]: self.ranks[rank] for rank in sorted(self.ranks)[::-1]}
                for rank in first.values():  # one on each machine
                    _send(rank.writer, "waiting", line)
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open[task] = writer
        try:
            keep_alive(writer.get_extra_info("socket"))
            about = json.loads(await asyncio.wait_for(reader.readline(), TOLD))
            rank = self._seated(about, writer)
            if rank is None:
                return
            while line := await reader.readline():
                self._take(rank, *json.loads(line))
        except (OSError, ValueError, TypeError, KeyError, TimeoutError, asyncio.TimeoutError):
            rank = next((each for each in self.ranks.values() if each.writer is writer), None)
        finally:
            writer.close()
            del self.open[task]
        if rank is not None and self.ranks.get(rank.about["rank"]) is rank:
            self._leave(rank)

    def _seated(self, about: dict[str, Any], writer: asyncio.StreamWriter) -> _Rank | None:
        """The rank that this is, now joined; None for one that is refused."""
        rank = _Rank(about, writer)
        number = about["rank"]
        there = self.ranks.get(number)
        if there is not None and not self.started and self._strange(there) and not self._strange(rank):
            _send(there.writer, "refused", self._taken(rank))
            del self.ranks[number]
            there.writer.close()
            there = None
        wrong = _wrong(rank, self.place.size)
        if wrong is not None:
            _send(writer, "refused", wrong)
            if not self.started:
                self._lost(wrong)
        elif there is not None or not 0 <= number < self.place.size:
            _send(writer, "refused", self._taken(there))
        else:
            self.ranks[number] = rank
            _send(writer, "welcome", None)
            self.came.set()
            wait = STRANGE if any(self._strange(each) for each in self.ranks.values()) else 0
            asyncio.get_running_loop().call_later(wait, self._start)
            return rank
        return None

    def _taken(self, by: _Rank | None) -> str:
        what = "" if by is None else f", whose {by} has joined"
        return f"{self.place} serves another run{what}: give this one another port with --master_port=PORT"

    def _strange(self, rank: _Rank) -> bool:
        """Whether another msrun of this machine started the rank: of another run, or in place of another host."""
        return bool(rank.about["machine"] == machine() and rank.about["parent"] != os.getppid())

    def _start(self) -> None:
        if self.started or len(self.ranks) < self.place.size:
            return
        self.started, self.inner = True, _free_port(self.place.host)
        self.came.set()
        for rank in self.ranks.values():
            beside = sorted(n for n, each in self.ranks.items() if each.about["machine"] == rank.about["machine"])
            place = {"port": self.inner, "local_rank": beside.index(rank.about["rank"]), "local_size": len(beside)}
            _send(rank.writer, "go", place)

    def _take(self, rank: _Rank, kind: str, value: Any) -> None:
        number = rank.about["rank"]
        if kind == "say" and not self.failed:
            self.said[number] = value
            if len(self.said) == self.place.size:
                self._send_all("answers", [said for _, said in sorted(self.said.items())])
                self.said = {}
        elif kind == "fail" and not self.failed:
            self.failed, self.said = True, {}
            self._send_all("failed", [self.job, number, value], but=rank)
        elif kind == "end":
            self.ended[number] = value
            if len(self.ended) == self.place.size:
                self._send_all("ended", [line for _, line in sorted(self.ended.items())])
                self.job, self.failed, self.said, self.ended = self.job + 1, False, {}, {}
        elif kind == "bye":
            rank.status = value
            self._send_all("bye", [number, value], but=rank)

    def _leave(self, rank: _Rank) -> None:
        """A rank's connection has ended."""
        rank.gone = True
        if rank.status is None and (
            not self.started or self.ranks[0].status is None
        ):  # msrun kills the rest after rank 0
            self._lost(f"{rank} was killed or ended: start the same command again, what was encoded is kept")
        elif all(each.gone for each in self.ranks.values()) and not self.over.done():
            self.over.set_result(None)

    def _lost(self, line: str) -> None:
        """The run can't go on: told to all, once."""
        if not self.over.done():
            self._send_all("lost", line)
            self.over.set_result(line)

    def _send_all(self, kind: str, value: Any, but: _Rank | None = None) -> None:
        for rank in self.ranks.values():
            if rank is not but and not rank.gone:
                _send(rank.writer, kind, value)


def _send(writer: asyncio.StreamWriter, kind: str, value: Any) -> None:
    writer.write(json.dumps([kind, value]).encode() + b"\n")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _wrong(rank: _Rank, size: int) -> str | None:
    """Why no run comes about with this rank, for the way in which msrun was called."""
    if rank.about["rank"] is None:
        return (
            f"msrun gave process {rank.about['pid']} on {rank.about['host']} no rank: with one host --worker_num and "
            "--local_worker_num must be equal, with several each msrun needs its --node_rank=0, 1, …"
        )
    if rank.about["size"] != size:
        return f"{rank} has --worker_num={rank.about['size']}, the scheduler {size}: give the same to all"
    return None


def _free_port(host: str) -> int:
    family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.bind(address)
        return int(probe.getsockname()[1])


def _mindspore_scheduler(parent: int) -> None:
    """MindSpore's own scheduler, in a process of its own, since it holds Python's lock as long as it runs.

    It ends with its parent, where that is Linux.
    """
    with contextlib.suppress(AttributeError, OSError):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        return
    import mindspore
    from mindspore.communication import init

    mindspore.set_device("CPU")
    init()


if __name__ == "__main__":
    _mindspore_scheduler(int(sys.argv[1]))
