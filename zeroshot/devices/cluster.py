"""Ray, once a process: the cluster that the user names, or one that only this process can reach."""

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import unblocked

CONNECT_SECONDS = 10.0
LONGEST_SOCKET = 107  # characters of the path of a Unix socket
SOCKET = "session_2026-11-29_05-50-16_202994_4194304/sockets/plasma_store"  # the longest that Ray makes in its folder
# Waits until the process that started it has ended, however it ended, and ends what Ray left: its agents stay on for
# minutes after their node was killed.
CLEAN_UP = """
cat > /dev/null
for pause in 1 2; do
    sleep $pause
    find /proc/[0-9]*/fd -maxdepth 1 -lname "$0/*" 2> /dev/null | cut -d / -f 3 | sort -u | xargs -r kill -9
    rm -rf -- "$0"
done
"""

log = logging.getLogger(__name__)

_cleaners: list[subprocess.Popen[bytes]] = []  # held, since what they wait for is the end of their input


def shut_by_default() -> None:
    """Makes a Ray that this process starts listen on loopback alone, ask for a token and send no usage statistics.

    Ray reads these variables when it is imported; what the user has set stays. Where Ray is imported already, it is too
    late for the token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on every system: 127.0.0.1 is the host's address
    if "ray" in sys.modules:
        sys.modules["ray"]._private.ray_constants.ENABLE_RAY_CLUSTER = False
    elif "RAY_AUTH_MODE" not in os.environ:
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
        raise ZeroshotError("device.count needs Ray: pip install 'ray>=2.40'") from error
    if ray.is_initialized():
        return ray
    options = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    with _quiet(ray), unblocked():  # Ray's processes end by the signals that this process holds back
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
            raise ZeroshotError(
                f"device.cluster={cluster}: no Ray cluster there, or RAY_AUTH_TOKEN is not its token ({reason})"
            ) from error
    return ray


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Leaves Ray's own lines, from its start on, to the handlers of the logger `ray`, which a run's log file has."""
    logger = logging.getLogger("ray")
    own = [each for each in logger.handlers if type(each).__module__.split(".")[0] != "ray"]
    # what its node manager reports is printed, past every logger
    ray._private.worker.print_to_stdstream = lambda data, **_: logger.warning("\n".join(data["lines"]))
    try:
        yield
    finally:  # Ray has reset its logger
        logger.handlers, logger.propagate = [*own, logging.NullHandler()], False


def _temporary_folder() -> str:
    """A folder for Ray's sockets and logs, which is removed when this process has ended, also by kill -9."""
    folder = tempfile.mkdtemp(prefix="zeroshot-ray-")
    if len(os.path.join(folder, SOCKET)) > LONGEST_SOCKET:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="zeroshot-ray-", dir="/tmp")
    if (shell := shutil.which("sh")) is not None:
        command = [shell, "-c", CLEAN_UP, folder]
        _cleaners.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
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
