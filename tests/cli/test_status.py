"""`micromacro status`, and what signals do to `micromacro run`."""

import json
import signal
import subprocess
import sys
import time

import pytest

from micromacro.store import Store
from micromacro.watching.run_log import recorded

HOSTILE = "\x1b]0;owned\x07\x1b[2J‮[bold]x"


def test_a_run_under_way_is_shown(micromacro, tmp_path):
    out = tmp_path / "out"
    with Store(out).locked(), recorded(out / "store", resumed=False, case="wells", method="umbrella", seed=3) as log:
        log.stage_finished("explore", 2.0, 100, found=False)
        log.stage_begun("bias", 1600, "walker-steps", 100)
        answer, as_json = micromacro("status", out), micromacro("status", out, "--json")
    assert answer.code == 0
    assert "running: process " in answer.out
    assert "wells, method umbrella, seed 3" in answer.out
    assert "bias: 0% of 1.6k walker-steps" in answer.out
    assert json.loads(as_json.out)["stages"] == {"explore": {"wall_seconds": 2.0, "force_evaluations": 100}}


def test_a_terminal_obeys_no_log(micromacro, tmp_path):
    out = tmp_path / "out"
    with recorded(out / "store", resumed=False, case=HOSTILE) as log:
        log.stage_finished(HOSTILE, 2.0, 100, found=False)
        log.say("failed", message=HOSTILE)
    answer = micromacro("status", out)
    assert "failed: ?]0;owned??[2J?[bold]x" in answer.out
    assert all(letter.isprintable() or letter == "\n" for letter in answer.out)
    assert json.loads(micromacro("status", out, "--json").out)["state"] == "failed"


def test_a_folder_without_a_run_is_told(micromacro, tmp_path):
    answer = micromacro("status", tmp_path / "missing")
    assert (answer.code, answer.err) == (
        2,
        f"Error: OUT must be the folder of a run; got {tmp_path / 'missing'}, which holds none. "
        "'micromacro run CASE -o OUT' begins one there.\n",
    )


def test_looking_needs_no_numerics():
    code = "import sys, micromacro.cli.status, micromacro.watching.status; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("jax", "numpy", "xarray", "pydantic") if f"'{name}'" in loaded]


# a run whose main thread answers signals, or is deaf to them as in a compiled call
DEAF = """
import signal, sys, time
from pathlib import Path
from micromacro.cli.signals import Stopping
from micromacro.watching.run_log import recorded

store, how = Path(sys.argv[1]), sys.argv[2]
with Stopping("last words") as stopping:
    try:
        with recorded(store, resumed=False):
            if how != "early":
                stopping.store = store
            if how == "deaf":
                signal.signal(signal.SIGTERM, lambda *_: None)
            print("ready", flush=True)
            while True:
                time.sleep(60)
    except KeyboardInterrupt as error:
        stopping.say(error)
        sys.exit(128 + stopping.received)
"""


@pytest.mark.parametrize("how", ["early", "listening", "deaf"])
def test_a_signal_ends_a_run_that_cannot_answer_it_too(tmp_path, how):
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(tmp_path), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "last words\n")
    assert time.monotonic() - sent < (10 if how == "deaf" else 1.4)
    if how == "early":
        return  # the log is not of this run yet
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["signal"]) == ("interrupted", "SIGTERM")


def test_what_nohup_ignores_stays_ignored(tmp_path):
    code = (
        "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from micromacro.cli.signals import Stopping\n"
        "with Stopping(''): os.kill(os.getpid(), signal.SIGHUP); print('on')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "on\n", "")
