"""Ranks and their scheduler as plain processes, without msrun: joining, agreeing, failing and dying; their parts."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import ROOT, Command
from zeroshot import ranks

HOST = "127.0.0.1"
RANK = """
import json, os, signal, sys, time
from zeroshot import ranks
from zeroshot.__main__ import explain
from zeroshot.errors import ZeroshotError

def told(value):
    sys.__stdout__.write(json.dumps(value) + "\\n")
    sys.__stdout__.flush()

try:
    ranks.join()
    me = ranks.rank()
    exec(sys.argv[1])
    status = 0
except ZeroshotError as error:
    told(str(error))
    status = 1
sys.exit(ranks.leave(status))
"""


@given(count=st.integers(0, 3000), size=st.integers(1, 64), whole=st.integers(1, 300))
def test_the_parts_hold_everything_once_in_order_and_no_block_is_cut(count: int, size: int, whole: int) -> None:
    parts = [ranks.part_of(rank, size, count, whole) for rank in range(size)]
    assert [place for part in parts for place in part] == list(range(count))
    assert all(part.start % whole == 0 or not part for part in parts)
    blocks = [-(-len(part) // whole) for part in parts]
    assert max(blocks) - min(blocks) <= 1


@given(st.lists(arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3))), min_size=1, max_size=6))
def test_arrays_of_unequal_length_are_gathered_in_the_order_of_the_ranks(parts: list[Any]) -> None:
    largest = max(part.nbytes for part in parts)

    class AllGather:
        def __call__(self, mine: Any) -> Any:
            assert mine.dtype == np.int32
            return np.concatenate([ranks._tensor(part.tobytes(), largest) for part in parts]).view(Answer)

    class Answer(np.ndarray):
        def asnumpy(self) -> Any:
            return np.asarray(self)

    mindspore = SimpleNamespace(ops=SimpleNamespace(AllGather=AllGather), Tensor=np.asarray)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_mindspore", lambda: mindspore)
        for part in parts:
            sizes = [other.nbytes for other in parts]
            patch.setattr(ranks, "_line", SimpleNamespace(exchange=lambda _value, sizes=sizes: sizes))
            whole = ranks.gathered(part)
            assert (whole.shape, whole.tobytes()) == (np.concatenate(parts).shape, np.concatenate(parts).tobytes())


def test_a_process_alone_gets_back_what_it_gives() -> None:
    array = np.arange(6).reshape(3, 2)
    assert (ranks.world_size(), ranks.rank(), ranks.local_rank(), ranks.part(7)) == (1, 0, 0, range(7))
    assert ranks.gathered(array) is array
    assert ranks.gathered_values({"a": 1}) == [{"a": 1}]
    assert (ranks.first("x"), ranks.shared(["y"]), ranks.leave(3)) == ("x", ["y"], 3)
    with ranks.job(str):
        ranks.check()


def test_a_run_alone_never_touches_the_communication_layer(config_dir: Path, cifar: Path, tmp_path: Path) -> None:
    code = (
        "import socket, sys, threading, mindspore\n"
        "from mindspore.communication import GlobalComm\n"
        "def refused(*_, **__): raise AssertionError('this is communication')\n"
        "mindspore.communication.init = mindspore.ops.AllGather = mindspore.ops.Broadcast = refused\n"
        "socket.socket.connect = socket.socket.bind = refused\n"
        "from zeroshot.__main__ import main\n"
        "status = main()\n"
        "named = [thread.name for thread in threading.enumerate()]\n"
        "sys.exit(status or GlobalComm.INITED or 'ranks' in named)"
    )
    given = ["--config-dir", str(config_dir), f"dataset.root={cifar}", "model=small", "device=cpu", "prompt=plain"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, *given, "hydra.run.dir=out"]
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["device"]["world_size"] == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Run:
    """A scheduler and some ranks at a port, started as msrun starts them; `code` is what each rank does."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path, self.port = tmp_path, free_port()
        self.started: list[subprocess.Popen[str]] = []

    def process(self, command: list[str], **more: str) -> "subprocess.Popen[str]":
        given = {"MS_SCHED_HOST": HOST, "MS_SCHED_PORT": str(self.port), "MS_TOPO_TIMEOUT": "600", **more}
        self.started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": str(ROOT), **given},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.tmp_path,
            )
        )
        return self.started[-1]

    def scheduler(self, size: int, **more: str) -> "subprocess.Popen[str]":
        return self.process(["-m", "zeroshot"], MS_ROLE="MS_SCHED", MS_WORKER_NUM=str(size), **more)

    def rank(self, rank: int, size: int, code: str, **more: str) -> "subprocess.Popen[str]":
        more = {"MS_NODE_ID": str(rank), **more}
        return self.process(["-c", RANK, code], MS_ROLE="MS_WORKER", MS_WORKER_NUM=str(size), **more)

    def all(self, size: int, code: str) -> list["subprocess.Popen[str]"]:
        return [self.scheduler(size), *(self.rank(rank, size, code) for rank in range(size))]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[Any], str]:
    """Status, what was told, and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def test_the_ranks_join_agree_and_take_leave(run: Run) -> None:
    code = """
    told([me, ranks.world_size(), ranks.local_rank(), ranks.first(f"from {me}"), list(ranks.part(10))])
    ranks.agree({"weights": "same"})
    told(len(os.sched_getaffinity(0)))
    """
    scheduler, *processes = run.all(3, "\n".join(line.strip() for line in code.splitlines()))
    parts, cores = [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]], len(os.sched_getaffinity(0))
    shares = [max(1, (rank + 1) * cores // 3 - rank * cores // 3) for rank in range(3)]
    for rank, process in enumerate(processes):
        assert ended(process) == (0, [[rank, 3, rank, "from 0", parts[rank]], shares[rank]], "")
    assert ended(scheduler) == (0, [], "")


def test_a_rank_with_other_weights_is_told_by_its_number_and_what_differs(run: Run) -> None:
    code = 'ranks.agree({"texts": "t", "weights": "other" if me == 1 else "same"})'
    scheduler, *processes = run.all(3, code)
    line = "rank 1 has another weights than rank 0 (other, not same): give every host the same files, versions and "
    for process in processes:
        status, (told,), _ = ended(process)
        assert status == 1
        assert told.startswith(line)
    assert ended(scheduler)[0] == 1


def test_what_one_rank_fails_of_ends_the_job_for_all_and_the_next_one_runs(run: Run) -> None:
    code = """
for number in range(2):
    try:
        with ranks.job(explain):
            ranks.first(None)
            if number == 0 and me == 1:
                raise ZeroshotError("photo.png is damaged")
            while number == 0:
                time.sleep(0.01)
                ranks.check()
            told(ranks.first("done"))
    except ZeroshotError as error:
        told([type(error).__name__, str(error)])
"""
    scheduler, *processes = run.all(3, code)
    told = [ended(process)[:2] for process in processes]
    elsewhere = ["ElsewhereError", "rank 1: photo.png is damaged"]
    assert told[0] == told[2] == (0, [elsewhere, "done"])
    assert told[1] == (0, [["ZeroshotError", "photo.png is damaged"], "done"])
    assert ended(scheduler)[0] == 0


def test_a_failure_of_the_next_job_is_not_taken_for_one_of_the_last(run: Run) -> None:
    code = """
get = ranks._line._inbox.get
ranks._line._inbox.get = lambda: (time.sleep(0.3 * (me == 0)), get())[1]  # what comes is seen long after
for number in range(3):
    try:
        with ranks.job(explain):
            if me == 1 and number < 2:
                raise ZeroshotError(f"failure {number}")
            told(ranks.first("done"))
    except ZeroshotError as error:
        told(str(error))
"""
    _, first, second = run.all(2, code)
    assert ended(first)[:2] == (0, ["rank 1: failure 0", "rank 1: failure 1", "done"])
    assert ended(second)[:2] == (0, ["failure 0", "failure 1", "done"])


def test_what_msrun_kills_once_rank_0_has_ended_is_no_loss(run: Run) -> None:
    code = "ranks.first(None)\nwhile me == 1: time.sleep(1)"
    scheduler, first, second = run.all(2, code)
    assert ended(first)[0] == 0
    second.send_signal(signal.SIGKILL)
    assert ended(scheduler) == (0, [], "")


def test_what_all_ranks_fail_of_is_rank_0_s_to_tell(run: Run) -> None:
    code = """
try:
    with ranks.job(explain):
        raise ZeroshotError("no such key")
except ZeroshotError as error:
    told([type(error).__name__, str(error)])
"""
    scheduler, *processes = run.all(2, code)
    assert [ended(process)[1] for process in processes] == [
        [["ZeroshotError", "no such key"]],
        [["ElsewhereError", "no such key"]],
    ]
    assert ended(scheduler)[0] == 0


def test_a_killed_rank_is_told_by_all_and_ends_the_run_after_a_last_act(run: Run, tmp_path: Path) -> None:
    code = """
with ranks.job(explain):
    ranks.if_lost(lambda line: open(f"last_{me}", "w").write(line))
    ranks.first(None)
    told("working")
    if me == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.first(None)
"""
    scheduler, *processes = run.all(3, code)
    pid = processes[1].pid
    line = f"rank 1 (process {pid} on {socket.gethostname()}) was killed or ended: start the same command again, "
    for rank in (0, 2):
        status, _, err = ended(processes[rank])
        assert status == 1
        (wrong,) = err.splitlines()
        assert wrong.startswith(line if rank == 0 else f"rank {rank}: {line}")
        assert (tmp_path / f"last_{rank}").read_text().startswith(line)
    status, _, err = ended(scheduler)
    assert status == 1
    assert err.startswith(f"ERROR: {line}")


def test_ranks_are_told_when_their_scheduler_is_killed(run: Run) -> None:
    scheduler, *processes = run.all(2, "told('here'); time.sleep(100)")
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    scheduler.send_signal(signal.SIGKILL)
    for process in processes:
        status, _, err = ended(process)
        assert status == 1
        assert f"the scheduler at {HOST}:{run.port} was killed or ended" in err


def test_a_rank_that_ends_early_is_no_secret(run: Run) -> None:
    code = "if me == 1: raise ZeroshotError('mine')\ntime.sleep(0.5)\nranks.first(None)"
    scheduler, first, second = run.all(2, code)
    assert ended(first)[:2] == (1, ["rank 1 has ended before this run, with status 1: see its log"])
    assert ended(second)[:2] == (1, ["mine"])
    assert ended(scheduler)[0] == 1


def test_ranks_that_never_come_are_told_by_number_and_joining_is_given_up(run: Run) -> None:
    patience = {"MS_TOPO_TIMEOUT": "2"}
    scheduler = run.scheduler(4, **patience)
    processes = [run.rank(rank, 4, "told('in')", **patience) for rank in (0, 2)]
    line = f"2 of 4 ranks have joined at {HOST}:{run.port}, missing 1, 3: --worker_num must be the sum of all hosts' "
    for process in processes:
        status, (told,), _ = ended(process)
        assert status == 1
        assert told.startswith(line)
    status, _, err = ended(scheduler)
    waiting, error = err.splitlines()
    assert status == 1
    assert waiting.startswith(f"waiting: {line}")
    assert error.startswith(f"ERROR: {line}")


def test_a_rank_without_a_scheduler_says_what_to_look_at(run: Run) -> None:
    status, (told,), _ = ended(run.rank(1, 2, "", MS_TOPO_TIMEOUT="1"))
    assert status == 1
    assert told.startswith(f"rank 1 of 2 reaches no scheduler at {HOST}:{run.port}: is msrun started on that host")


def test_a_process_that_msrun_gave_no_rank_is_told_how_it_gives_one(run: Run) -> None:
    scheduler = run.scheduler(3)
    status, (told,), _ = ended(run.process(["-c", RANK, ""], MS_ROLE="MS_WORKER", MS_WORKER_NUM="3"))
    assert status == 1
    assert "no rank: with one host --worker_num and --local_worker_num must be equal" in told
    assert told in ended(scheduler)[2]


def test_hosts_that_disagree_on_the_number_of_ranks_are_told(run: Run) -> None:
    scheduler = run.scheduler(2)
    status, (told,), _ = ended(run.rank(1, 3, ""))
    assert status == 1
    assert "has --worker_num=3, the scheduler 2: give the same" in told
    assert told in ended(scheduler)[2]


def test_a_second_run_on_the_same_port_is_told_and_the_first_goes_on(run: Run) -> None:
    code = "told('in'); sys.stdin.readline(); ranks.first(None)"
    scheduler, *processes = run.all(2, code)
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    status, _, err = ended(run.scheduler(2))
    assert status == 1
    assert err.startswith(f"ERROR: {HOST}:{run.port} can't be listened at")
    assert err.rstrip().endswith("choose another port with --master_port=PORT")
    status, (told,), _ = ended(run.rank(0, 2, ""))
    assert status == 1
    assert told.startswith(f"{HOST}:{run.port} serves another run, whose rank 0 (process {processes[0].pid} on ")
    for process in processes:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
    assert [ended(process)[0] for process in (*processes, scheduler)] == [0, 0, 0]


def test_a_run_s_own_ranks_come_before_those_of_another_msrun(run: Run) -> None:
    run.scheduler(2)
    beside = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
    another = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "MS_NODE_ID": "0"}
    strange = run.process(["-c", beside, "-c", RANK, ""], **another)  # its parent is not the scheduler's
    while run_is_quiet(run):
        pass
    own = [run.rank(rank, 2, "told(ranks.first(os.getpid()))") for rank in range(2)]
    assert [ended(process)[:2] for process in own] == [(0, [own[0].pid])] * 2
    status, (told,), _ = ended(strange)
    assert status == 1
    assert "serves another run" in told


def run_is_quiet(run: Run) -> bool:
    """Whether nobody has joined at its port yet."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, run.port)) != 0


@pytest.fixture
def program(run: Run) -> Iterator[Callable[[], None]]:
    """Another program at the run's port, which answers in a way of its own."""
    with socket.create_server((HOST, run.port)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield answer
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("program")
def test_a_port_that_another_program_has_is_told(run: Run) -> None:
    status, _, err = ended(run.scheduler(1))
    assert status == 1
    assert "choose another port with --master_port=PORT" in err
    status, (told,), _ = ended(run.rank(0, 1, ""))
    assert status == 1
    assert told == f"{HOST}:{run.port} is taken by another program: choose another port with --master_port=PORT"


def test_a_job_of_a_launcher_s_own_process_is_refused_under_msrun(small: Command) -> None:
    code = "import sys; from zeroshot import ranks\nwith ranks.job(str): sys.exit('ran')"
    surroundings = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "MS_SCHED_HOST": HOST, "MS_SCHED_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **surroundings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "leave hydra/launcher as it is" in done.stderr
