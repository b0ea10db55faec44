"""The ranks of a run over many devices, as each of them sees it: its part, what the others have, and how they are.

`msrun` starts a process a rank, and `zeroshot.scheduler` holds a connection to each. What is small and what may fail
goes over that; text features, predictions and counts go through MindSpore's collectives, over HCCL on Ascend. Where
msrun did not start this process, it is rank 0 of 1: nothing is joined, and every function gives back what it was given.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zeroshot import scheduler
from zeroshot.errors import ZeroshotError
from zeroshot.line import ElsewhereError, Line

WORD = 4  # bytes of what collectives carry: int32, which every device's have
RETRY = {
    "MS_RETRY_INTERVAL_LOWER": "1",
    "MS_RETRY_INTERVAL_UPPER": "1",
}  # seconds; MindSpore's 3 to 5 make its end slow
INIT_SECONDS = 60  # that MindSpore waits for its cluster, when all ranks are there

Value = TypeVar("Value")
Number = TypeVar("Number", bound=np.generic)


def join() -> None:
    """Joins the other ranks, if msrun started this process as one of them; from then on only rank 0 speaks.

    Raises:
        ZeroshotError: they can't be joined; the line says why.
    """
    global _line
    place = scheduler.seat("MS_WORKER")
    if place is not None:
        _line = Line(place)


def world_size() -> int:
    """How many ranks there are."""
    return 1 if _line is None else _line.place.size


def rank() -> int:
    """Which of them this is, from 0."""
    return 0 if _line is None else _line.rank


def local_rank() -> int:
    """Which of the ranks on this machine this is, from 0."""
    return 0 if _line is None else _line.local_rank


def part(count: int, whole: int = 1) -> range:
    """This rank's part of so many things: contiguous, in the order of the ranks, in blocks of `whole` things but for
    the last."""
    return part_of(rank(), world_size(), count, whole)


def part_of(rank: int, size: int, count: int, whole: int = 1) -> range:
    """The part of one rank of `size`."""
    blocks = -(-count // whole)
    start, stop = (min(blocks * each // size * whole, count) for each in (rank, rank + 1))
    return range(start, stop)


def first(value: Value) -> Value:
    """Rank 0's value, of plain JSON and small; the other ranks' play no part."""
    return value if _line is None else _line.exchange(value)[0]


def agree(about: Mapping[str, Any]) -> None:
    """Sees to it that every rank is about to do the same.

    Raises:
        ZeroshotError: on all ranks alike, if one differs from rank 0; the line says which and in what.
    """
    if _line is None:
        return
    told = _line.exchange(dict(about))
    for number, theirs in enumerate(told):
        for key, value in told[0].items():
            if theirs.get(key) != value:
                raise ZeroshotError(
                    f"rank {number} has another {key} than rank 0 ({theirs.get(key)}, not {value}): "
                    "give every host the same files, versions and command"
                )


def gathered(array: NDArray[Number]) -> NDArray[Number]:
    """The ranks' arrays [n, …] one after another along the first axis; n may differ between ranks, and be 0."""
    if _line is None:
        return array
    parts = (np.frombuffer(each, array.dtype) for each in _gathered_bytes(_line, array.tobytes()))
    return np.concatenate(list(parts)).reshape(-1, *array.shape[1:])


def gathered_values(value: Value) -> list[Value]:
    """Each rank's value, of plain JSON, in the order of the ranks."""
    if _line is None:
        return [value]
    return [json.loads(each) for each in _gathered_bytes(_line, json.dumps(value).encode())]


def shared(items: Sequence[str]) -> Sequence[str]:
    """Rank 0's texts, however many; the other ranks' play no part."""
    if _line is None:
        return items
    mine = json.dumps(items).encode() if _line.rank == 0 else b""
    size = first(len(mine))
    tensor = _tensor(mine, size)
    (sent,) = _mindspore().ops.Broadcast(0)((tensor,))
    return json.loads(sent.asnumpy().tobytes()[:size])  # type: ignore[no-any-return]


def connect(mindspore: Any) -> None:
    """Joins MindSpore's own cluster, once its device is set and before anything is computed; alone, does nothing.

    Raises:
        ZeroshotError: another rank failed before it came here, or MindSpore's cluster does not come about.
    """
    if _line is None:
        return
    _line.exchange(None)  # so that none waits in MindSpore for one that never comes
    os.environ |= RETRY | os.environ | {"MS_SCHED_PORT": str(_line.port), "MS_TOPO_TIMEOUT": str(INIT_SECONDS)}
    try:
        mindspore.communication.init()
    except RuntimeError as error:
        raise ZeroshotError(
            f"MindSpore's cluster of {world_size()} ranks did not come about ({str(error).strip().splitlines()[0]}): "
            "start the same command again"
        ) from error


def check() -> None:
    """Raises ElsewhereError if another rank has failed in this job: long work asks now and then."""
    if _line is not None:
        _line.check()


def if_lost(act: Callable[[str], object]) -> None:
    """What is still done in this job, with the line that says why, when a rank was killed: the process then ends."""
    if _line is not None:
        _line.last_acts.append(act)


@contextmanager
def job(explained: Callable[[BaseException], str]) -> Iterator[None]:
    """What all ranks do together: it is over once it is over for all, and has failed if it failed for one.

    `explained` makes an error one line.

    Raises:
        ElsewhereError: another rank failed; on ranks over 0 also where rank 0 failed of the same, and tells it.
    """
    if _line is None:
        if scheduler.seat("MS_WORKER") is not None:  # a launcher's process, which no other rank knows
            raise ZeroshotError("under msrun a sweep's jobs run one after another: leave hydra/launcher as it is")
        yield
        return
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        line = None if isinstance(error, ElsewhereError) else explained(error)
        lines = _line.end(line)
        if line is not None and _line.rank and line == lines[0]:
            raise ElsewhereError(line) from error
        raise
    else:
        for number, failed in enumerate(_line.end(None)):
            if failed is not None:
                raise ElsewhereError(f"rank {number}: {failed}")
    finally:
        _line.last_acts.clear()


def leave(status: int) -> int:
    """Takes leave of the other ranks with this exit status, and gives the one to end with.

    Ranks over 0 wait for rank 0, since msrun kills all ranks once one ends with another status than 0.
    """
    return status if _line is None else _line.leave(status)


_line: Line | None = None  # None: alone


def _gathered_bytes(line: Line, mine: bytes) -> list[bytes]:
    sizes = line.exchange(len(mine))  # and so all are here, and none waits in a collective for one that failed
    if not any(sizes):
        return [b""] * len(sizes)
    every = _mindspore().ops.AllGather()(_tensor(mine, max(sizes))).asnumpy()
    rows = every.view(np.uint8).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def _tensor(content: bytes, size: int) -> Any:
    """As int32, with room for so many bytes."""
    padded = np.zeros(-(-size // WORD) * WORD, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return _mindspore().Tensor(padded.view(np.int32))


def _mindspore() -> Any:
    import mindspore

    return mindspore
