"""The Kubernetes objects: valid, consistent, and their commands work together."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import soundfile
import typer.main
import yaml
from marked_processes import VARIABLE, all_ended, kill_all, marked

from stemwise.cli import app

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
Object = dict[str, Any]


def _objects() -> dict[tuple[str, str], Object]:
    """All objects by kind and name."""
    found = {}
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        for one in yaml.safe_load_all((FOLDER / name).read_text()):
            found[one["kind"], one["metadata"]["name"]] = one
    return found


OBJECTS = _objects()
PODS = {
    "head": OBJECTS["Deployment", "stemwise-head"],
    "worker": OBJECTS["Deployment", "stemwise-worker"],
    "run": OBJECTS["Job", "stemwise-run"],
}


def _pod(part: str) -> Object:
    return PODS[part]["spec"]["template"]["spec"]


def _container(part: str) -> Object:
    [container] = _pod(part)["containers"]
    return container


@pytest.mark.parametrize("key", OBJECTS, ids="-".join)
def test_objects_are_what_kubernetes_knows(key: tuple[str, str]) -> None:
    kubernetes_validate.validate(OBJECTS[key], "1.30", strict=True)


def test_wrong_objects_are_refused() -> None:
    wrong = json.loads(json.dumps(OBJECTS["Job", "stemwise-run"]))
    wrong["spec"]["backofLimit"] = 6
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.30", strict=True)


def test_every_file_is_applied() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    [image] = kustomization["images"]
    assert {_container(part)["image"] for part in PODS} == {image["name"]}


def test_the_service_leads_to_the_head() -> None:
    service = OBJECTS["Service", "stemwise-head"]
    labels = PODS["head"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    [port] = service["spec"]["ports"]
    assert port["port"] == _container("head")["ports"][0]["containerPort"]
    assert f"--port={port['port']}" in _container("head")["args"][-1]
    address = f"{service['metadata']['name']}:{port['port']}"
    for part in ("worker", "run"):
        values = {one["name"]: one.get("value") for one in _container(part)["env"]}
        assert values["RAY_HEAD"] == address
        assert '--address="$RAY_HEAD"' in _container(part)["args"][-1]
    for part in ("head", "worker"):
        template = PODS[part]["spec"]["template"]["metadata"]["labels"]
        assert PODS[part]["spec"]["selector"]["matchLabels"].items() <= template.items()


def test_probes_ask_ports_that_are_served() -> None:
    for part in ("head", "worker"):
        container = _container(part)
        [port] = container["ports"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"]["port"] == port["name"]
    assert "--node-manager-port=6380" in _container("worker")["args"][-1]
    assert _container("worker")["ports"][0]["containerPort"] == 6380


@pytest.mark.parametrize("part", PODS)
def test_volumes_are_there_and_mounted(part: str) -> None:
    volumes = {one["name"]: one for one in _pod(part)["volumes"]}
    mounts = {one["name"]: one["mountPath"] for one in _container(part)["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert mounts["shm"] == "/dev/shm"
    if part != "head":
        assert mounts["data"] == "/data"
        claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
        assert ("PersistentVolumeClaim", claim) in OBJECTS


@pytest.mark.parametrize("part", PODS)
def test_pods_are_bounded_and_unprivileged(part: str) -> None:
    resources = _container(part)["resources"]
    for what in ("cpu", "memory"):
        assert _quantity(resources["requests"][what]) <= _quantity(resources["limits"][what])
    user = _pod(part)["securityContext"]
    assert user["runAsNonRoot"]
    container = (FOLDER.parent / "Containerfile").read_text()
    assert f"USER {user['runAsUser']}\n" in container
    assert _container(part)["securityContext"]["allowPrivilegeEscalation"] is False


def _quantity(text: str) -> Fraction:
    units = {"m": Fraction(1, 1000), "Mi": Fraction(2**20), "Gi": Fraction(2**30)}
    for unit, factor in units.items():
        if text.endswith(unit):
            return Fraction(text.removesuffix(unit)) * factor
    return Fraction(text)


def test_the_run_is_a_command_that_stemwise_knows() -> None:
    line = _container("run")["args"][-1].strip().splitlines()[-1]
    words = shlex.split(line)
    assert words[:2] == ["exec", "stemwise"]
    command = typer.main.get_command(app)
    name, separate, rest = command.resolve_command(
        command.make_context("stemwise", words[2:]), words[2:]
    )  # type: ignore[attr-defined]
    assert name == "separate"
    parameters = separate.make_context(name, rest).params
    assert parameters["cluster"] == "$RAY_HEAD"
    assert parameters["format"] is None
    assert parameters["flac"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="the pods of this test are further loopback addresses"
)
def test_head_worker_and_run_work_together(tmp_path: Path, sockets: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "songs").mkdir()
    for name in ("one", "two"):
        song = 0.1 * rng.standard_normal((22050, 2))
        soundfile.write(tmp_path / f"songs/{name}.wav", song, 44100)
    ports = {"6379": str(_free_port()), "6380": str(_free_port())}
    with marked() as mark:
        addresses = {part: f"127.0.0.{number}" for number, part in enumerate(PODS, 2)}

        def start(part: str) -> subprocess.Popen[bytes]:
            return _start(part, addresses[part], tmp_path, ports, sockets, mark)

        pods = {part: start(part) for part in PODS}
        starts = dict.fromkeys(PODS, 1)
        until = time.monotonic() + 300
        while pods["run"].poll() != 0:
            assert time.monotonic() < until
            # what fails is started again: on a busy machine Ray gives up after half a minute
            for part in [one for one in PODS if pods[one].poll()]:
                kill_all(mark, f"POD_IP={addresses[part]}")
                starts[part] += 1
                assert starts[part] <= 4, f"{part} ends with {pods[part].returncode}"
                pods[part] = start(part)
            time.sleep(0.2)
        assert pods["head"].poll() is None
        for part in ("worker", "head"):
            pods[part].terminate()  # what a pod gets that has to go
            pods[part].wait(15)  # the worker's grace
        # the node of the run is left: its container ends it
        assert all_ended(mark, 10, "POD_IP=127.0.0.2")
        assert all_ended(mark, 10, "POD_IP=127.0.0.3")
    lines = (tmp_path / "stems/ledger.jsonl").read_text().splitlines()[1:]
    states = {one["id"]: one["state"] for one in map(json.loads, lines)}
    assert states == {"one": "done", "two": "done"}
    assert len(list((tmp_path / "stems").glob("*/vocals.flac"))) == 2


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="sw", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _start(
    part: str, address: str, data: Path, ports: dict[str, str], sockets: Path, mark: str
) -> subprocess.Popen[bytes]:
    """A pod's container as a process, with the environment that its object describes."""
    container = _container(part)
    values = {"RAY_HEAD": f"127.0.0.2:{ports['6379']}", "STEMWISE_CACHE": str(data / "cache")}
    resolved = {
        "POD_IP": address,
        "RAY_AUTH_TOKEN": mark * 2,
        "CPUS": "1",
        **values,
    }
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_TMPDIR": str(sockets),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        VARIABLE: mark,
    }
    for one in container["env"]:
        environment[one["name"]] = resolved.get(one["name"], one.get("value", ""))
    *shell, script = container["args"]
    for port, free in ports.items():
        script = script.replace(f"port={port}", f"port={free}")
    script = script.replace("cd /data\n", f"cd {shlex.quote(str(data))}\n")
    log = (data / f"{part}.log").open("ab")
    return subprocess.Popen([*shell, script], env=environment, cwd=data, stdout=log, stderr=log)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.2", 0))
        return int(server.getsockname()[1])
