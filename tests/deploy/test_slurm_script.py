"""The SLURM script: checked by ShellCheck, and really run on two nodes that are this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from marked_processes import VARIABLE, all_ended, marked

from small_networks import small
from stemwise import models

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/slurm/stemwise.sbatch"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the nodes of this test are further loopback addresses"
)

SCONTROL = """#!/bin/sh
case "$*" in
  "show hostnames two-nodes") printf '127.0.0.2\\n127.0.0.3\\n' ;;
  *) echo "scontrol $*" >> "$NOTES" ;;
esac
"""
SRUN = """#!/bin/sh
while :; do
  case "$1" in
    --nodelist=*) node="${1#--nodelist=}"; shift ;;
    --*=*|--overlap) shift ;;
    *) break ;;
  esac
done
echo "srun $node $1 $2" >> "$NOTES"
exec "$@"
"""


def test_shellcheck_finds_nothing() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run([str(checker), str(SCRIPT)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_two_nodes_separate_a_folder(tmp_path: Path) -> None:
    models.save(small("band-unet").eval(), tmp_path / "small.safetensors")
    rng = np.random.default_rng(0)
    (tmp_path / "songs").mkdir()
    for name in ("one", "two"):
        song = 0.1 * rng.standard_normal((22050, 2))
        soundfile.write(tmp_path / f"songs/{name}.wav", song, 44100)
    with marked() as mark:
        command = ("separate", "songs", "-n", "small.safetensors", "-o", "stems")
        ended = subprocess.run(
            ["bash", str(SCRIPT), *command],
            cwd=tmp_path,
            env=_environment(tmp_path, mark),
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert all_ended(mark, 10)
    lines = (tmp_path / "stems/ledger.jsonl").read_text().splitlines()[1:]
    assert {one["id"]: one["state"] for one in map(json.loads, lines)} == {
        "one": "done",
        "two": "done",
    }
    assert len(list((tmp_path / "stems").glob("*/vocals.wav"))) == 2
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes[:2] == ["srun 127.0.0.2 ray start", "srun 127.0.0.3 ray start"]
    assert [line for line in notes if line.endswith("rm -rf")] == [
        "srun 127.0.0.2 rm -rf",
        "srun 127.0.0.3 rm -rf",
    ]


# a head that listens, as the script waits for that, and a run that only a signal ends
RAY = """#!{python}
import sys, socket
options = dict(one.split("=") for one in sys.argv if "=" in one)
if "--head" in sys.argv:
    place = options["--node-ip-address"], int(options["--port"])
    server = socket.create_server(place)
import signal
signal.pause()
"""
STEMWISE = """#!{python}
import os, signal, sys, time
def end(*_):
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
with open(os.environ["NOTES"], "a") as notes:
    print("stemwise", *sys.argv[1:], file=notes)
signal.pause()
"""

# machines that know themselves as Debian's do
GETENT = """#!/bin/sh
echo 127.0.1.1 STREAM "$2"
"""
HOSTNAME = """#!/bin/sh
echo 127.0.0.2 192.0.2.1
"""


def test_a_job_that_has_to_go_is_queued_again(tmp_path: Path) -> None:
    programs = {"getent": GETENT, "hostname": HOSTNAME, "ray": RAY, "stemwise": STEMWISE}
    environment = _environment(tmp_path, "", **programs)
    with marked() as mark:
        environment[VARIABLE] = mark
        job = subprocess.Popen(
            ["bash", str(SCRIPT), "separate", "songs", "--jobs", "1"],
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
        notes = tmp_path / "notes"
        until = time.monotonic() + 30
        while not (notes.exists() and "stemwise" in notes.read_text()):
            assert time.monotonic() < until, "the run was not started"
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: does
        assert job.wait(30) == 143
        assert all_ended(mark, 10)
    told = notes.read_text().splitlines()
    number = environment["SLURM_JOB_ID"]
    assert f"scontrol requeue {number}" in told
    port = 20000 + int(number) % 20000
    assert f"stemwise separate --cluster 127.0.0.2:{port} --jobs 2 songs --jobs 1" in told


def _environment(folder: Path, mark: str, **programs: str) -> dict[str, str]:
    """That of a job of two nodes, in which these programs stand in front of all others."""
    shims = folder / "bin"
    shims.mkdir()
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, **programs}.items():
        (shims / name).write_text(text.replace("{python}", sys.executable))
        (shims / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(shims), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NOTES": str(folder / "notes"),
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "two-nodes",
        "SLURM_CPUS_PER_TASK": "1",
        VARIABLE: mark,
    }
