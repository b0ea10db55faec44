"""Where workers run: planned over the devices of a cluster, started, replaced and, with `count=all`, added."""

import logging
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from zeroshot.devices.worker import Build, Facts, Share, Started, Worker
from zeroshot.errors import ZeroshotError

FAILED_STARTS = 3  # at a place, in a row
JOIN_SECONDS = 5.0  # between two looks for hosts that joined
RESOURCES = {"Ascend": "NPU", "GPU": "GPU"}  # what Ray calls them

log = logging.getLogger(__name__)


@dataclass
class Place:
    """A device, or on CPUs a share of a host's cores, with the worker that is there now.

    `queue` holds what the worker was asked for, with what becomes the answer; `since` is when it began with the first
    of them, or to start.
    """

    node: str | None  # where Ray must start the worker; None where it chooses
    share: Share | None
    worker: Any = None
    starting: Any = None  # what becomes `started`
    started: Started | None = None
    failed_starts: int = 0
    as_bytes: bool = False  # whether the worker does not see the leader's files
    queue: deque[tuple[Any, Any]] = field(default_factory=deque)
    since: float = 0.0

    @property
    def host(self) -> str:
        """The name of the worker's host, as far as it is known."""
        return "a host" if self.started is None else self.started.host

    @property
    def awaited(self) -> Any:
        """What Ray answers next: the start, the first of the queue, or None."""
        if self.started is None:
            return self.starting
        return self.queue[0][1] if self.queue else None


class Placement:
    """The places of a pool's workers.

    Args:
        ray: the module, connected.
        build: builds an encoder in a worker's process and says on what its features depend; picklable.
        facts: on what the leader's features depend; workers that differ in more than their processor are not used.
        target: "CPU", "Ascend" or "GPU".
        count: how many workers, or "all".
        joins: whether hosts that join later are used.

    Raises:
        ZeroshotError: the cluster has fewer devices.
    """

    def __init__(self, ray: Any, build: Build, facts: Facts, target: str, count: int | str, joins: bool) -> None:
        self._ray, self._build, self._facts = ray, build, facts
        self._resource = RESOURCES.get(target)
        self._all, self._joins = count == "all", joins
        self.here = str(ray.get_runtime_context().get_node_id())
        self._refused: set[str] = set()  # nodes whose workers would compute something else
        self._looked = time.monotonic()
        self.places = self._planned(count)
        for place in self.places:
            self._start(place)

    def accept(self, place: Place, started: Started) -> bool:
        """Whether a worker that has started may take part: not if it would compute something else.

        Raises:
            ZeroshotError: no worker is left.
        """
        differences = _differences(started.facts, self._facts)
        if not differences:
            place.started, place.failed_starts = started, 0
            return True
        self._refused.add(started.node)
        self._drop(place, f"{started.host} is not used: {differences}")
        return False

    def replace(self, place: Place, reason: str) -> None:
        """Starts a new worker instead of one that failed, or goes on without it where its host has left.

        Raises:
            ZeroshotError: no worker is left.
        """
        place.failed_starts += place.started is None
        if place.failed_starts == FAILED_STARTS or (self._all and not self._has_room(place)):
            self._drop(place, f"the worker on {place.host} is gone ({reason}): the others take over its images")
            return
        log.warning("the worker on %s failed (%s): a new one takes over", place.host, reason)
        self._ray.kill(place.worker)
        if place.node is not None and place.node not in (nodes := self._nodes()):
            used = Counter(each.node for each in self.places)
            place.node = min(nodes, key=lambda node: used[node])
        self._start(place)

    def add_joined(self) -> None:
        """Adds workers on hosts that have joined, where all of the cluster is to be used."""
        if not self._joins or time.monotonic() - self._looked < JOIN_SECONDS:
            return
        self._looked = time.monotonic()
        if self._resource is None:
            known = {place.node for place in self.places} | self._refused
            joined = [Place(node, Share(0, 1)) for node in self._nodes() if node not in known]
        else:
            joined = [Place(None, None) for _ in range(self._devices() - len(self.places))]
        for place in joined:
            self.places.append(place)
            self._start(place)

    def close(self) -> None:
        """Ends the workers."""
        for place in self.places:
            self._ray.kill(place.worker)
        self.places = []

    def _start(self, place: Place) -> None:
        """Starts a worker; it is used once its start is done."""
        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0}
        if self._resource == "GPU":
            options["num_gpus"] = 1
        elif self._resource is not None:
            options["resources"] = {self._resource: 1}
        if place.node is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place.node, soft=False)
        place.worker = self._ray.remote(Worker).options(**options).remote()
        place.started, place.since = None, time.monotonic()
        place.starting = place.worker.start.remote(self._build, place.share, os.getcwd())

    def _drop(self, place: Place, reason: str) -> None:
        self._ray.kill(place.worker)
        self.places.remove(place)
        if not self.places:
            raise ZeroshotError(f"no worker is left: {reason}")
        log.warning(reason)

    def _planned(self, count: int | str) -> list[Place]:
        if self._resource is not None:
            available = self._devices()
            wanted = available if count == "all" else int(count)
            if wanted > available or not wanted:
                raise ZeroshotError(f"device.count={count}: Ray knows {available} devices of the kind {self._resource}")
            return [Place(None, None) for _ in range(wanted)]
        nodes = self._nodes()
        hosts = [nodes[number % len(nodes)] for number in range(len(nodes) if count == "all" else int(count))]
        shares, taken = Counter(hosts), Counter[str]()
        places = []
        for node in hosts:
            places.append(Place(node, Share(taken[node], shares[node])))
            taken[node] += 1
        return places

    def _nodes(self) -> list[str]:
        """The ids of the cluster's nodes, the leader's first."""
        nodes = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        return sorted(nodes, key=lambda node: (node != self.here, node))

    def _devices(self) -> int:
        """How many devices the nodes have that are used."""
        return sum(
            int(node["Resources"].get(self._resource, 0))
            for node in self._ray.nodes()
            if node["Alive"] and node["NodeID"] not in self._refused
        )

    def _has_room(self, place: Place) -> bool:
        """Whether the cluster still has the device of a worker that failed."""
        if place.node is not None:
            return place.node in self._nodes()
        return self._devices() >= len(self.places)


def _differences(theirs: Facts, ours: Facts) -> str:
    """What differs between a worker and the leader but their processors, for people; empty if nothing does."""
    parts: list[str] = []
    for name in ours:
        mine, other = ours[name], theirs.get(name)
        if name == "processor" or mine == other:
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            keys = [key for key in mine if other.get(key) != mine[key]]
            parts += [f"{key} {other.get(key)} there, {mine[key]} here" for key in keys]
        else:
            parts.append(f"other {name}")
    return ", ".join(parts)
