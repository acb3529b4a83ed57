"""Queries read, refused, and compared with an independent evaluation."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.path import Path as Polygon

from ubt.pairs import query
from ubt.pairs.predicates import BadQuery
from ubt.pairs.query import parse

COLUMNS = {
    "id": pa.array(["a", "b", "c", "d"]),
    "score": np.array([0.9, 0.5, np.nan, -1.0], np.float32),
    "rank": np.array([1, 2, 3, 4]),
    "topk": np.array([True, False, True, False]),
    "label": pa.chunked_array([["backdoor", None], ["clean", 'it\'s "x"\\']]),
    "caption": pd.Series(["A Banana (ripe)", "élan ÉTÉ", None, "50% a.b*c\0\n"]),
    "map_x": np.array([0.5, 2.0, np.nan, 0.5]),
    "map_y": np.array([0.5, 0.5, 0.5, 0.1]),
}


def chosen(text: str) -> str:
    return "".join("abcd"[i] for i in np.flatnonzero(parse(text).rows(COLUMNS)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("topk", "ac"),
        ("NOT topk", "bd"),
        ("topk = FALSE", "bd"),
        ("topk != true", "bd"),
        ("topk in (true, false)", "abcd"),
        ("score >= 0.5", "ab"),
        ("score == -1e0", "d"),
        ("score != .5", "ad"),
        ("not score = 0.5", "acd"),
        ("score in (0.9, -1)", "ad"),
        ("score between -1 and 0.5", "bd"),
        ("score not between -1 and 0.5", "a"),
        ("rank<3", "ab"),
        ("rank in (2, 2.5, 99999999999999999999, 4.0)", "bd"),
        ("rank < 99999999999999999999", "abcd"),
        ("score < 1e300", "abd"),
        ("score is missing", "c"),
        ("score is not missing", "abd"),
        ("rank is missing", ""),
        ("label = backdoor", "a"),
        ("label != backdoor", "cd"),
        ("label is missing", "b"),
        ("label not in (clean)", "ad"),
        ("not label in (clean)", "abd"),
        ("label in ()", ""),
        (r"""label = "it's \"x\"\\" """, "d"),
        (r"label = 'it\'s \"x\"\\'", "d"),
        ("caption contains BANANA", "a"),
        ("caption contains '(RIPE)'", "a"),
        ("caption contains 'a.b*C'", "d"),
        ("caption contains 'a.bxc'", ""),
        ("caption contains 'été'", "b"),
        (r"caption contains '\n'", "d"),
        ("caption contains '\0'", "d"),
        ("caption not contains banana", "bd"),
        ("caption contains ''", "abd"),
        ("map inside (0 0, 1 0, 1 1, 0 1)", "ad"),
        ("map not inside (0 0, 1 0, 1 0.3, 0 .3)", "ab"),
        ("topk or score = 0.5 and rank = 4", "ac"),
        ("(topk or score = 0.5) and rank = 2", "b"),
        ("not not topk and not rank = 1", "c"),
        ("  topk\n\tAnd\u3000rank > 1 ", "c"),
    ],
)
def test_each_condition_selects_what_it_says(text, expected):
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1: expected a condition that begins with a column's name, got the end"),
        ("   ", "got the end"),
        ("topk and", "character 9"),
        ("__import__('os').system('true')", "character 11: expected and, or, or the end of the query, got '('"),
        ("topk; drop", "character 5"),
        ("lambda: 0", "character 7"),
        ("score > 1 if topk else 2", "character 11"),
        ("score.__class__ = 1 [0]", "character 21"),
        ("5 = 5", "character 1"),
        ("label = 'open", "character 9: expected a closing ', got the end"),
        ('label = "open\\', 'a closing "'),
        ("topk\0", "character 5"),
        ("topk \ud800", "character 6: expected valid Unicode"),
        ("and topk", "character 1"),
        ("score > 1e999", "beyond the largest number"),
        ("score > " + "9" * 5000, "beyond the largest number"),
        ("id = 12ab", "character 6"),
        ("score between 2 and 1", "the lower end first"),
        ("score between a and b", "expected a number, got 'a'"),
        ("map inside (0 0, 1 1)", "3 to 5000 points, got 2"),
        ("map inside (0 0, 1, 2)", "got ','"),
        ("id in (a b)", "a comma or a closing"),
        ("(topk", "a closing parenthesis"),
        ("topk)", "got ')'"),
        ("label contains 3", "text of at most 1000 characters"),
        ("score is small", "expected missing"),
        ("score not = 1", "between, in, contains or inside"),
        ("(" * 51 + "topk" + ")" * 51, "at most 50 levels"),
        ("(" * 100_000, "at most 50 levels"),
        ("not " * 40_000 + "topk", "at most 50 levels"),
        ("a" * 200_001, "at most 200000 characters, got 200001"),
        ("id in (" + "a," * 20_000 + "a)", "at most 20000 values"),
        (" or ".join(["topk"] * 1001), "at most 1000 conditions"),
        ("score = '" + "x" * 150_000, "a closing '"),
        ("score = " + "1" * 150_000 + "a", "character 9"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, said):
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scroe > 1", "did you mean score"),
        ("xyzq > 1", "id, score, rank"),
        ("map_z inside (0 0, 1 0, 1 1)", "map_z_x"),
        ("id = 3", "in quotes"),
        ("id < c", "expected = or !="),
        ("topk > 1", "expected = or !="),
        ("topk = 1", "true or false"),
        ("score = high", "a number"),
        ("score = true", "a number"),
        ("score", "a comparison"),
        ("rank contains 'a'", "holds numbers"),
        ("id in (a, 1)", "got 1"),
        ("things = 1", "numbers, truth values or text"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(text, said):
    with pytest.raises(BadQuery) as refused:
        parse(text).rows(COLUMNS | {"things": pd.Series([{}, 1, "a", None])})
    assert said in str(refused.value)


def test_an_unknown_column_is_refused_before_what_follows_it():
    with pytest.raises(BadQuery, match=r"character 1: .*'scor'.* did you mean score"):
        parse("scor e > 1", COLUMNS)
    assert parse("map inside (0 0, 1 0, 1 1) and Score > 1 or score > 1".replace("Score", "rank"), COLUMNS)


def test_the_work_is_bounded_and_what_people_draw_is_within_it():
    rows = 100_000
    table = {"map_x": np.zeros(rows), "map_y": np.zeros(rows), "caption": pa.array(["a banana"] * rows)}
    outline = "map inside (" + ", ".join(f"{i % 2} {i}" for i in range(500)) + ")"
    assert parse(outline).rows(table).shape == (rows,)
    assert parse(" or ".join(['caption contains "dog"'] * 50)).rows(table).shape == (rows,)
    for text in (" or ".join([outline] * 20), " or ".join(['caption contains "dog"'] * 1000)):
        with pytest.raises(BadQuery, match="steps of work"):
            parse(text).rows(table)


def test_queries_know_their_columns_and_leave_them_alone():
    parsed = parse(" topk or Not (map inside (0 0, 1 0, 1 1)) and score is missing ")
    assert parsed.names == {"topk", "map_x", "map_y", "score"}
    assert parsed.text == "topk or Not (map inside (0 0, 1 0, 1 1)) and score is missing"
    parse("topk").rows(COLUMNS)[:] = False
    assert COLUMNS["topk"].any()


def test_text_columns_of_every_kind_answer_alike():
    texts = ["x", None, "y", "X"]
    kinds = [
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
        pd.Series(texts),
        pd.Series(texts, dtype=object),
        pd.Series(texts, dtype="category"),
        np.array(texts, object),
        pa.chunked_array([texts[:1], texts[1:]]),
    ]
    for kind in kinds:
        assert [parse(t).rows({"t": kind}).tolist() for t in ("t = x", "t in (y, z)", "t contains x", "t != x")] == [
            [True, False, False, False],
            [False, False, True, False],
            [True, False, False, True],
            [False, False, True, True],
        ]
    assert not parse("t = x").rows({"t": pd.Series([None, None])}).any()


def random_query(rng: np.random.Generator, frame: pd.DataFrame, depth: int) -> tuple[str, pd.Series]:
    """A random query's text, and what pandas says it selects."""
    if depth and rng.random() < 0.7:
        a, b = (random_query(rng, frame, depth - 1) for _ in range(2))
        return [
            (f"({a[0]}) or {b[0]}", a[1] | b[1]),
            (f"({a[0]}) AND ({b[0]})", a[1] & b[1]),
            (f"not ({a[0]})", ~a[1]),
        ][rng.integers(3)]
    low, high = sorted(rng.normal(size=2).round(3))
    x, word = frame["x"], frame["word"]
    leaves = [
        (f"x between {low} and {high}", x.between(low, high)),
        (f"x > {low}", x.gt(low)),
        ("x != 0.25", x.ne(0.25) & x.notna()),
        ("word = bé", word.eq("bé").fillna(False)),
        ("word not in (a, 'bé')", ~word.isin(["a", "bé"]) & word.notna()),
        ("flag", frame["flag"]),
        ("word contains C", word.str.contains("c", regex=False, na=False)),
        ("x is missing", x.isna()),
        ("n in (1, 3)", frame["n"].isin([1, 3])),
    ]
    text, rows = leaves[rng.integers(len(leaves))]
    return text, rows.astype(bool)


def test_random_querys_agree_with_pandas():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=60),
            "word": rng.choice(["a", "bé", "Cc", None], 60),
            "n": rng.integers(0, 5, 60),
            "flag": rng.random(60) < 0.5,
        }
    )
    frame.loc[rng.random(60) < 0.3, "x"] = np.nan
    frame.loc[5, "x"] = 0.25
    for _ in range(150):
        text, rows = random_query(rng, frame, 4)
        assert parse(text).rows(dict(frame.items())).tolist() == rows.tolist(), text
        joined = query.both(text, "x > 0 or flag")
        assert (
            parse(joined).rows(dict(frame.items())).tolist() == (rows & (frame["x"].gt(0) | frame["flag"])).tolist()
        ), joined


def test_polygons_agree_with_matplotlib():
    rng = np.random.default_rng(1)
    points, corners = rng.normal(size=(500_000, 2)), rng.normal(size=(200, 2)).round(3)
    points[0] = np.nan
    rows = parse(query.inside("map", corners)).rows({"map_x": points[:, 0], "map_y": points[:, 1]})
    assert 0 < rows.sum() < len(rows)
    assert (rows == Polygon(corners).contains_points(points)).all()


def test_many_ids_are_found():
    ids = pa.array([f"pair-{i:07d}" for i in range(500_000)])
    wanted = [f"pair-{i:07d}" for i in range(0, 500_000, 50)]
    rows = parse(query.among(wanted)).rows({"id": ids})
    assert np.flatnonzero(rows).tolist() == list(range(0, 500_000, 50))


def test_what_the_builders_write_reads_back():
    hostile = ['a"b', "c'd", "e\\", "\\n", "\n\t\r\0", "', 'x", ") or topk", "日本 🍌", ""]
    assert parse(query.among(hostile)).rows({"id": pa.array([*hostile, "x"])}).tolist() == [True] * len(hostile) + [
        False
    ]
    x = np.array([0.1234561, 0.123, -5e-7])
    assert parse(query.between("x", x[0], -1e-6)).rows({"x": x}).tolist() == [False, True, True]
    assert query.between("n", np.int64(12345678), 123456789) == "n between 12345678 and 123456789"
    assert parse(query.inside("m", [(1e-4, 0), (1e6 + 0.1234, 0), (0, 1e17)])).names == {"m_x", "m_y"}
    assert query.both(" ", "") == ""
    assert query.both("", "a or b") == "a or b"
    assert query.both("(a or b)", "c and d") == "(a or b) and c and d"


@pytest.mark.parametrize(
    "build",
    [
        lambda: query.between("x", float("nan"), 1),
        lambda: query.between("x y", 0, 1),
        lambda: query.between("not", 0, 1),
        lambda: query.inside("m", [(0, 0)]),
        lambda: query.inside("m", [(0, 0), (1, np.inf), (1, 1)]),
        lambda: query.among(["a"] * 20_001),
        lambda: query.among(["a" * 200_000]),
        lambda: query.both("a) or (b", "c"),
    ],
)
def test_what_a_query_cannot_hold_is_not_built(build):
    with pytest.raises(BadQuery):
        build()
