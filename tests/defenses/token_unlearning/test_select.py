"""D_topk from pairs that somebody confirmed, instead of Eq. 4's."""

import numpy as np
import pandas as pd
import pytest
from tiny import CPU, tiny

from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.defenses.token_unlearning.select import SelectSettings, inside, select
from ubt.defenses.token_unlearning.verdict import VerdictSettings

N = 60
RUN = Run(seed=0, compute=CPU)


def unit(n: int, seed: int) -> np.ndarray:
    v = np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def crowd() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Sixty pairs, forty of them suspicious: 0-9 share one caption and trigger, 10-19 and 50-53 another, the others
    nothing.
    """
    images, texts = unit(N, 3), unit(N, 4)
    for number, rows in enumerate(([*range(10)], [*range(10, 20), *range(50, 54)])):
        images[rows] = texts[rows] = unit(1, number)
    similarity = (images * texts).sum(1) - 0.001 * np.arange(N)
    ids = [f"p{i}" for i in range(N)]
    return (
        pd.DataFrame({"id": ids, "row": np.arange(N), "similarity": similarity}),
        pd.DataFrame({"id": ids, "suspicious": np.arange(N) < 40}),
        images,
        texts,
    )


def chosen(crowd, confirmed: str, **settings) -> pd.DataFrame:
    """D_topk of ids that are parted by blanks here."""
    return select(
        *crowd, SelectSettings(k=4, confirmed=confirmed.replace(" ", "\n"), **settings), VerdictSettings(), RUN
    )["topk"]


def test_confirmed_pairs_are_topk_whatever_their_rank_and_suspicion(crowd):
    rows = [3, 25, 38, 59, 8]
    topk = chosen(crowd, " ".join(f"p{r}" for r in rows) + " p3")
    similarity = crowd[0]["similarity"].to_numpy()
    expected = sorted(rows, key=lambda r: -similarity[r])
    assert topk["row"].tolist() == expected
    assert topk["id"].tolist() == [f"p{r}" for r in expected]
    assert topk["similarity"].tolist() == similarity[expected].tolist()
    assert topk["rank"].tolist() == [1, 2, 3, 4, 5]


def test_the_ranking_and_the_columns_are_those_of_equation_4(crowd):
    plain = select(*crowd, SelectSettings(k=4), VerdictSettings(), RUN)
    given = select(*crowd, SelectSettings(k=4, confirmed="p1\np2"), VerdictSettings(), RUN)
    pd.testing.assert_frame_equal(plain["ranked"], given["ranked"])
    assert list(plain["topk"].columns) == list(given["topk"].columns)
    assert plain["topk"]["row"].tolist() != given["topk"]["row"].tolist()
    pd.testing.assert_frame_equal(plain["topk"], chosen(crowd, ""))


def test_confirmed_pairs_of_two_backdoors_are_two_groups_and_strangers_join_the_first(crowd):
    topk = chosen(crowd, "p0 p1 p2 p11 p12 p52 p30")
    groups = topk.groupby("group")["row"].apply(set).to_dict()
    assert groups == {0: {0, 1, 2, 30}, 1: {11, 12, 52}}
    assert chosen(crowd, "p0 p1 p2 p11 p12", apart=2.0)["group"].eq(0).all()
    assert chosen(crowd, "p30 p31 p32")["group"].eq(0).all()


def test_an_id_may_hold_blanks(crowd):
    similarity, cut, images, texts = crowd
    named = similarity["id"].replace({"p3": "a photo, 3.jpg", "p8": "香 蕉"})
    given = SelectSettings(k=4, confirmed="香 蕉\na photo, 3.jpg"), VerdictSettings()
    topk = select(similarity.assign(id=named), cut.assign(id=named), images, texts, *given, RUN)["topk"]
    assert set(topk["row"]) == {3, 8}


@pytest.mark.parametrize(
    ("confirmed", "says"),
    [
        ("p0 nosuch p1", "expected ids of D, got nosuch; take them from"),
        ("p0", "at least 2 pairs, got 1"),
        ("p0 p0", "at least 2 pairs, got 1"),
        ("P0 p1", "P0"),
    ],
)
def test_pairs_that_are_not_of_d_or_alone_are_refused(crowd, confirmed, says):
    with pytest.raises(BadInput, match=says):
        chosen(crowd, confirmed)


def test_confirmed_pairs_of_a_real_case(tiny_case):
    made, settings = tiny_case.artefacts, tiny()
    scored, cut = made["score_overfit"], made["split"]["split"]
    wanted = cut.loc[cut["suspicious"], "id"].tolist()[:3] + cut.loc[~cut["suspicious"], "id"].tolist()[:3]
    groups = settings.select.with_values({"confirmed": "\n".join(wanted)}), settings.verdict
    similarity = scored["similarity"].assign(row=np.arange(len(cut)))
    topk = select(similarity, cut, scored["image_features"], scored["text_features"], *groups, RUN)["topk"]
    expected = scored["similarity"].set_index("id")["similarity"][wanted].sort_values(ascending=False)
    assert topk["id"].tolist() == expected.index.tolist()
    assert topk["similarity"].tolist() == expected.tolist()
    assert made["data"]["pairs"]["id"].iloc[topk["row"]].tolist() == topk["id"].tolist()


def test_confirmed_pairs_outside_d_susp_are_scored_with_it(tiny_case):
    made, cut = tiny_case.artefacts, tiny_case.artefacts["split"]["split"]
    outside = cut.loc[~cut["suspicious"], "id"].tolist()[:2]
    data = made["data"]
    given = inside(
        made["overfit"]["model"],
        data["images"],
        data["tokens"],
        data["pairs"],
        cut,
        SelectSettings(confirmed="\n".join(outside)),
        RUN,
    )
    assert given["similarity"]["id"].tolist() == cut.loc[cut["suspicious"] | cut["id"].isin(outside), "id"].tolist()
    whole = made["score_overfit"]["similarity"]["similarity"].to_numpy()
    assert given["similarity"]["similarity"].to_numpy() == pytest.approx(whole[given["similarity"]["row"]], abs=1e-5)
