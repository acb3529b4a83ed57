"""Two ranks on gloo do what one process does; one that is killed ends the run, which then goes on."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from tiny import CPU, TINY, tiny

from ubt.cases import events
from ubt.cases.pipeline import Pipeline
from ubt.cases.store import Store
from ubt.clip import distributed
from ubt.clip.training import contrastive_loss
from ubt.core.errors import BadInput
from ubt.core.run import Compute
from ubt.defenses.token_unlearning.overfit import alignment

ODD = {"unlearn.keep_batch": 31}
"""So that a batch does not divide by two."""
AGAIN = ("score", "overfit", "score_overfit", "unlearn", "unlearn_published", "evaluate_purified")
"""What two ranks make: scores, Eq. 3 with InfoNCE, both forms of unlearning, measures."""
NUMBERS, WEIGHTS = 1e-5, 1e-4
"""How far two ranks may be off in scores, features and losses, and in weights (the vocabulary table is stored in fp16).
"""


def ubt(root: Path, *launcher: str, **environment: str) -> subprocess.Popen:
    """The tiny case's command in a process of its own, or in those that a launcher starts."""
    command = [sys.executable, *launcher, "-m", "ubt", "run", "--device=cpu", "--precision=fp32", f"--cache={root}"]
    changes = [f"--set={name}={value}" for name, value in (TINY | ODD).items()]
    environment = os.environ | {"UBT_THREADS": str(CPU.threads), "OMP_WAIT_POLICY": "passive"} | environment
    return subprocess.Popen(
        command + changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def process_of(rank: int, launcher: int) -> int:
    """The process that a launcher runs as a rank."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no rank {rank}")


def far(one, two, entry: str) -> float:
    """How far two results differ at most."""
    kind = one.manifest["entries"][entry]
    if kind == "model":
        a, b = (load_file(x.path / entry / "open_clip_model.safetensors") for x in (one, two))
        return max(np.abs(a[name].astype(float) - b[name]).max() for name in a)
    a, b = (
        (one[entry], two[entry])
        if kind == "array"
        else (x[entry].select_dtypes("number").to_numpy(float) for x in (one, two))
    )
    return float(np.abs(a - b).max())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes in /proc")
def test_two_ranks_agree_with_one_though_one_was_killed_on_the_way(full, tmp_path, monkeypatch):
    """Killed under torchrun; resumed with this process as rank 0."""
    one = Pipeline(full, CPU).run(tiny(**ODD))
    store = Store(shutil.copytree(full.root, tmp_path / "two"))
    for stage in AGAIN:
        shutil.rmtree(store.root / "artefacts" / one.artefacts[stage].path.name)
    overfit = one.artefacts["overfit"].path.name

    first = ubt(
        store.root, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", UBT_CHECKPOINT_SECONDS="0"
    )
    while not (checkpoint := store.root / "work" / overfit / "checkpoint.safetensors").exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.01)
    os.kill(killed := process_of(1, first.pid), signal.SIGKILL)
    said = first.communicate(timeout=60)[0]
    assert first.returncode
    assert f"error: rank 1 of 2 (process {killed} on " in said
    assert "the same command goes on from there" in said
    assert said.count("case badnet-0") == 1, "one rank speaks"
    assert checkpoint.exists()
    assert not store.find(overfit)
    record = store.record(one.name)
    assert record.state == "failed"
    assert "rank 1 of 2" in record.error

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    other = ubt(store.root, **place, RANK="1", LOCAL_RANK="1")
    for name, value in (place | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    distributed.join("run")
    try:
        two = Pipeline(store, CPU).run(tiny(**ODD))
    finally:
        distributed.leave()
    assert other.communicate(timeout=60)[0] == "", "one rank speaks"
    assert other.returncode == 0
    told = events.read(store.journal(one.name))
    last = max(i for i, e in enumerate(told) if e.kind == "run")
    assert next(e.done for e in told[last:] if e.stage == "overfit" and e.kind == "progress") > 1, (
        "it went on from the checkpoint"
    )
    for stage in AGAIN:
        mine, theirs = one.artefacts[stage], two.artefacts[stage]
        assert theirs.manifest["ranks"] == 2
        assert mine.manifest["entries"] == theirs.manifest["entries"]
        for entry, kind in mine.manifest["entries"].items():
            if kind == "json":
                assert mine[entry] == theirs[entry]
            else:
                assert far(mine, theirs, entry) <= (WEIGHTS if kind == "model" else NUMBERS), (stage, entry)
    assert two.metrics["purified"] == one.metrics["purified"]


def test_ranks_that_cannot_work_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(BadInput, match=r"found no .*MASTER_ADDR.*torchrun"):
        distributed.join("run")
    for name in distributed.NEEDED:
        monkeypatch.setenv(name, "2")
    with pytest.raises(BadInput, match="pretrain; run it without torchrun"):
        distributed.join("pretrain")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(BadInput, match="WORLD_SIZE: expected a whole number"):
        distributed.join("run")
    monkeypatch.setattr(distributed, "ranks", distributed.Ranks(rank=1, size=3))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    distributed.fits(Compute("cpu", "fp32"))
    with pytest.raises(BadInput, match="a GPU for each of its 3 ranks, found 2; lower --nproc-per-node"):
        distributed.fits(Compute("cuda", "bf16"))


@pytest.mark.parametrize("n", [1, 2, 7, 9])
def test_shares_are_as_long_as_each_other_and_hold_every_row(monkeypatch, n):
    shares, parts = [], []
    for rank in range(3):
        monkeypatch.setattr(distributed, "ranks", distributed.Ranks(rank=rank, size=3, shared=True))
        shares.append(distributed.share(n))
        parts += distributed.part(range(n))
    assert len({len(s) for s in shares}) == 1
    assert np.concatenate(shares)[:n].tolist() == parts == list(range(n))


def test_gradients_are_those_of_the_whole_batch(monkeypatch):
    """Three ranks in turn, each given the others' features; 7 pairs, which do not divide by three."""
    torch.manual_seed(0)
    pairs, towers, scale = (
        torch.randn(2, 7, 5),
        torch.nn.ModuleList([torch.nn.Linear(5, 4), torch.nn.Linear(5, 4)]),
        torch.nn.Parameter(torch.tensor(1.0)),
    )

    def gradients() -> list[torch.Tensor]:
        image, text = (
            F.normalize(distributed.spread(tower, own), dim=-1) for tower, own in zip(towers, pairs, strict=True)
        )
        loss = contrastive_loss(image, text, scale.exp()) + alignment((image * text).sum(-1))
        return list(torch.autograd.grad(loss, [*towers.parameters(), scale]))

    def gathered(parts: list[torch.Tensor], own: torch.Tensor, group: None) -> None:
        every = [
            tower(some)[[0, 1, 2, 3, 4, 5, 6, 6, 6]].detach().split(3)
            for tower, some in zip(towers, pairs, strict=True)
        ]
        whose = next(features for features in every if torch.allclose(features[distributed.ranks.rank], own, atol=1e-5))
        for part, theirs in zip(parts, whose, strict=True):
            part.copy_(theirs)

    whole, each = gradients(), []
    monkeypatch.setattr(distributed, "agree", lambda: None)
    monkeypatch.setattr("torch.distributed.all_gather", gathered)
    for rank in range(3):
        monkeypatch.setattr(distributed, "ranks", distributed.Ranks(rank=rank, size=3, shared=True))
        each.append(gradients())
    for expected, *got in zip(whole, *each, strict=True):
        torch.testing.assert_close(sum(got) / 3, expected, rtol=1e-4, atol=1e-6)
