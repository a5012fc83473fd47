"""The soak of tools/reports/soak.py, for half a minute: 8 clients, two workers, of which one is killed now and then."""

import json
import subprocess
import sys

import pytest
from vkrun.tests.server.working import MODEL
from vkrun.tests.unit.sources import ROOT


@pytest.mark.full
def test_nothing_is_lost_or_mixed_up() -> None:
    command = [sys.executable, str(ROOT / "tools" / "reports" / "soak.py"), "--model", str(MODEL), "--backend", "cpu"]
    how = ["--clients", "8", "--replicas", "2", "--seconds", "30", "--kill-every", "10"]
    done = subprocess.run([*command, *how], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert made["wrong"] == made["left"] == [] and made["restarts"] >= 1
    assert made["jobs"]["length"] > 10 and made["jobs"]["failed"] >= 1
