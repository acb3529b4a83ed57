"""Training on again: on what, by whom, and that nothing that defends learns of it."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import CPU

from ubt.cases.catalog import AGAIN, every
from ubt.core.errors import Cancelled
from ubt.core.run import Run
from ubt.data import model_input, scenes
from ubt.defenses import DEFENSES
from ubt.evaluation.durability import AgainSettings, again, later
from ubt.evaluation.stages import durability_name

SMALL = AgainSettings(steps=5, batch=16, lr=1e-4, pairs=40)


@pytest.fixture(scope="module")
def given() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    own = scenes.load_pairs(0, "pairs", 48, scenes.SIZE)
    return (
        own.images,
        model_input.tokenize(own.captions, scenes.CONTEXT),
        pd.DataFrame({"suspicious": np.arange(48) % 3 == 0}),
    )


def weights(result: dict) -> dict[str, torch.Tensor]:
    return {n: p.detach() for n, p in result["model"].named_parameters() if "token_embedding" not in n}


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(p, weights(b)[n]) for n, p in weights(a).items())


def test_with_a_split_only_d_normal_is_trained_on_and_cut_short_it_goes_on(given, reference, tmp_path):
    images, tokens, split = given
    normal = np.flatnonzero(~split["suspicious"])
    whole = again(copy.deepcopy(reference), images, tokens, SMALL, Run(compute=CPU), split)
    assert len(whole["history"]) == 5
    assert same(whole, again(copy.deepcopy(reference), images[normal], tokens[normal], SMALL, Run(compute=CPU)))
    assert not same(whole, again(copy.deepcopy(reference), images, tokens, SMALL, Run(compute=CPU)))

    def stop(done: int, total: int, figures: dict) -> None:
        if done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        again(copy.deepcopy(reference), images, tokens, SMALL, Run(compute=CPU, scratch=tmp_path, progress=stop), split)
    assert same(
        whole, again(copy.deepcopy(reference), images, tokens, SMALL, Run(compute=CPU, scratch=tmp_path), split)
    )


def test_its_clean_pairs_are_of_no_other_role():
    own = later(SMALL, Run(seed=3))
    assert own["images"].shape == (40, scenes.SIZE, scenes.SIZE, 3)
    assert len(own["tokens"]) == len(set(own["pairs"]["id"])) == 40
    for role in set(scenes.ROLES) - {"later"}:
        assert not set(own["pairs"]["id"]) & set(scenes.load_pairs(3, role, 40, 8).ids)


def test_every_model_is_trained_on_in_every_way_and_no_defender_reads_it():
    known = {s.name: s for s in every()}
    for judged in ("evaluate_clean", "evaluate_poisoned", *(d.judged for d in DEFENSES.values())):
        for kind in AGAIN:
            measured = known[durability_name(kind, judged)]
            trained = known[measured.inputs["model"].removesuffix(".model")]
            assert trained.inputs["model"] == known[judged].inputs["model"]
            assert ("split" in trained.inputs) == (kind == "left")
            assert {trained.role, measured.role} == {"judge"}
            assert not any(source.startswith("attack.") for source in trained.inputs.values())
    read = {
        source.split(".")[0]
        for s in every()
        if not s.name.startswith(("again_", "evaluate_again_"))
        for source in s.inputs.values()
    }
    assert not any(owner == "later" or "again" in owner for owner in read)
