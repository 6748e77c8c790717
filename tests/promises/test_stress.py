"""A sample of each program in tests/stress that no other test runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).parents[1] / "stress"


@pytest.mark.parametrize(
    ("program", "count", "at_least"),
    [("writers", 15, 15), ("settings", 6, 350), ("arguments", 500, 500), ("changing", 60, 60)],
)
def test_a_sample(program, count, at_least):
    command = [sys.executable, str(STRESS / f"{program}.py"), "--count", str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (line,) = ran.stdout.splitlines()
    assert int(line.split()[0].replace(",", "")) >= at_least
    assert re.search(r"\b0 failures$", line)
