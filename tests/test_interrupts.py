"""Ctrl-C and SIGTERM at any moment: exit status 130, one line, and only `outputs` in the current folder."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

SEED = int(os.environ.get("ZEROSHOT_TEST_SEED", random.randrange(10**6)))  # printed with each moment, to repeat it
LONGEST = 6.0  # seconds; a run of the embedded model takes about four here
MOMENTS = 20


def moments() -> list[tuple[int, float]]:
    numbers = random.Random(SEED)
    return [(number, round(0.1 + numbers.random() * LONGEST, 2)) for number in range(MOMENTS)]


@pytest.mark.parametrize(("number", "seconds"), moments(), ids=[f"moment{number}" for number, _ in moments()])
def test_an_interrupt_ends_a_run_with_130_and_one_line(number: int, seconds: float, tmp_path: Path) -> None:
    sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
    sys.stdout.write(f"ZEROSHOT_TEST_SEED={SEED}: {sent.name} after {seconds} s\n")
    command = [sys.executable, "-m", "zeroshot", "experiment=quickstart"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(tmp_path / "home")}
    (tmp_path / "here").mkdir()
    with subprocess.Popen(
        command,
        cwd=tmp_path / "here",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        time.sleep(seconds)
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=60)
    left = {path.name for path in (tmp_path / "here").iterdir()}
    assert left <= {"outputs"}
    if process.returncode == 0:  # it was done before
        assert stderr == ""
    else:
        assert process.returncode == 130, stderr
        assert len(stderr.splitlines()) == 1, stderr
        assert stderr.startswith("interrupted")
    for folder in (tmp_path / "here").glob("outputs/*/*"):
        assert not (folder / "run.lock").exists()


DESTRUCTOR = """
import os, signal, sys, time
from zeroshot import interrupts

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

try:
    with interrupts.handled():
        Interrupted()
        time.sleep(30)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_in_a_destructor_is_not_lost() -> None:
    command = [sys.executable, "-c", DESTRUCTOR]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
