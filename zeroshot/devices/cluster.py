"""Ray, once a process: the cluster that the user names, or one that only this process can reach."""

import logging
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from typing import Any

from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import unblocked

CONNECT_SECONDS = 10.0
LONGEST_FOLDER = 40  # characters of a path below which Ray's sockets have names that are short enough
FOLDER_PREFIX = "zeroshot-ray-"
# Waits until the process that started it has ended, however it ended, and removes what Ray left.
REMOVE_AT_END = 'cat > /dev/null; for pause in 1 2 4; do sleep $pause; rm -rf -- "$0"; done'

log = logging.getLogger(__name__)

_removers: list[subprocess.Popen[bytes]] = []  # held, since what they wait for is the end of their input


def shut_by_default() -> None:
    """Makes a Ray that this process starts listen on loopback alone, ask for a token and send no usage statistics.

    Ray reads these variables when it is imported; what the user has set stays.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on every system: 127.0.0.1 is the host's address
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def connect(cluster: str | None, workers: int) -> Any:
    """The module `ray`, connected.

    Args:
        cluster: None starts Ray for this process; "auto" or an address joins a running cluster, with its token where
            the environment holds one (`RAY_AUTH_TOKEN`).
        workers: how many processes a Ray that is started gets ready at once.

    Raises:
        ZeroshotError: Ray is not installed, or there is no cluster at the address.
    """
    if cluster is None:
        shut_by_default()
    try:
        import ray
    except ImportError as error:
        raise ZeroshotError("device.count needs Ray: pip install 'zeroshot-mindspore[ray]'") from error
    if ray.is_initialized():
        return ray
    _log_quietly(ray)
    options = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    with unblocked():  # Ray's processes end by the signals that this process holds back
        if cluster is None:
            log.info("starting Ray on this machine")
            ray.init("local", num_cpus=workers, _temp_dir=_temporary_folder(), **options)
            return ray
        log.info("joining the Ray cluster at %s", cluster)
        _check_address(cluster)
        try:
            ray.init(cluster, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ZeroshotError(f"device.cluster={cluster}: no Ray cluster there ({reason})") from error
    return ray


def _log_quietly(ray: Any) -> None:
    """Sends Ray's own lines to the logger `ray`, which only a run's log file listens to."""
    logger = logging.getLogger("ray")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    # what its node manager reports is printed, past every logger
    ray._private.worker.print_to_stdstream = lambda data, **_: logger.warning("\n".join(data["lines"]))


def _temporary_folder() -> str:
    """A folder for Ray's sockets and logs, which is removed when this process has ended, also by kill -9."""
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"
    folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)
    if (shell := shutil.which("sh")) is not None:
        command = [shell, "-c", REMOVE_AT_END, folder]
        _removers.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
    return folder


def _check_address(cluster: str) -> None:
    """Refuses an address where nobody listens: Ray itself would try for minutes.

    Raises:
        ZeroshotError: there is no connection.
    """
    host, _, port = cluster.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ZeroshotError(f"device.cluster={cluster}: no Ray cluster there ({error.strerror or error})") from error
