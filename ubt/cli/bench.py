"""The part of the command line that measures speed, and what kills leave: `python -m ubt bench`."""

from pathlib import Path
from typing import Annotated

from rich.table import Table
from typer import Option

from ubt.cli.common import CacheOption, Device, Precision
from ubt.cli.console import check_writable, err, figures_table, out, say
from ubt.core.errors import UbtError
from ubt.core.run import Compute, compute

App = Annotated[bool, Option("--app", help="Measure the app over generated cases instead, in Chromium.")]
Walk = Annotated[bool, Option("--walk", help="Measure the sliders of Learn and What if instead, in Chromium.")]
Stages = Annotated[bool, Option("--stages", help="Measure score, split and select over generated pairs instead.")]
Profile = Annotated[
    bool,
    Option(
        "--profile",
        help="Run the default case twice instead: each stage's seconds, and its share of the matrix-product peak.",
    ),
]
Growth = Annotated[
    bool, Option("--growth", help="Measure how time and memory of the stages that train nothing grow with D instead.")
]
Gpu = Annotated[
    bool,
    Option(
        "--gpu",
        help="Measure a GPU instead: the paper's shape (ViT-B/32, 224 px), FAISS, the default case beside the CPU's.",
    ),
]
Busy = Annotated[
    bool,
    Option("--busy", help="Measure every kind of work beside other busy processes instead, and what waiting costs."),
]
Reviewed = Annotated[
    bool,
    Option(
        "--review", help="Press keys on Review at the speed of the screen instead, alone and beside busy processes."
    ),
]
Sessions = Annotated[
    bool,
    Option(
        "--sessions", help="Have several browser sessions click, label and run cases instead: memory, labels, speed."
    ),
]
Browsers = Annotated[int, Option("--browsers", help="With --sessions: how many there are.", min=1, max=100)]
Minutes = Annotated[float, Option("--minutes", help="With --sessions: how long they work.", min=0.1, max=600)]
Kills = Annotated[
    bool,
    Option(
        "--kills",
        help="Kill a case, imports, exports, labels and prune at random moments instead, go on with each, and count"
        " what differs from undisturbed runs and what is left.",
    ),
]
Count = Annotated[int, Option("--count", help="With --kills: how many.", min=1)]
Keys = Annotated[int, Option("--keys", help="With --review: keys that are pressed in each part.", min=10)]
Sizes = Annotated[
    list[int] | None,
    Option(
        "--pairs",
        help="With --app, --stages and --growth: pairs that are generated; may be given several times. With"
        " --profile: the size of D.",
        min=1000,
    ),
]
File = Annotated[Path | None, Option("--out", help="With --app: also write the figures to this JSON file.")]


def bench(
    steps: Annotated[int, Option(help="Training steps a measurement.", min=2)] = 12,
    batch: Annotated[int, Option(help="Pairs in a step.", min=2)] = 128,
    rounds: Annotated[int, Option(help="Rounds, in which all that is compared is measured in turn.", min=1)] = 3,
    device: Device = "auto",
    precision: Precision = "auto",
    app: App = False,
    walk: Walk = False,
    stages: Stages = False,
    profile: Profile = False,
    growth: Growth = False,
    gpu: Gpu = False,
    busy: Busy = False,
    review: Reviewed = False,
    keys: Keys = 600,
    sessions: Sessions = False,
    browsers: Browsers = 10,
    minutes: Minutes = 10.0,
    kills: Kills = False,
    count: Count = 100,
    sizes: Sizes = None,
    file: File = None,
    cache: CacheOption = Path("cache/bench"),
) -> None:
    """Pairs per second of training and encoding beside a bare open_clip loop on the same model, in the same run; or the
    app's speed.
    """
    if app:
        return print_app(sizes or [50_000, 500_000, 1_000_000], cache, file)
    if walk:
        return _print_walk(cache)
    if stages:
        return _print_stages(sizes or [500_000], cache, rounds)
    if profile:
        return _print_profile(compute(device, precision), sizes)
    if growth:
        return _print_growth(sizes or [10_000, 100_000, 1_000_000], cache)
    if gpu:
        return _print_gpu(device, precision, batch, rounds)
    if busy:
        return _print_busy(rounds)
    if review:
        return _print_review(cache, keys)
    if sessions:
        return _print_sessions(cache, browsers, minutes)
    if kills:
        return _print_kills(cache, count)
    _print_models(compute(device, precision), steps, batch, rounds)


def _print_models(where: Compute, steps: int, batch: int, rounds: int) -> None:
    from ubt.cli.bench_runs.models import compare

    result = compare(where, steps, batch, rounds)
    table = figures_table(
        f"{where}; medians of {rounds} rounds, batch {batch}",
        *("ours, pairs/s", "bare open_clip, pairs/s", "ratio", "share of matrix-product peak"),
    )
    for name in ("train", "encode"):
        r = result[name]
        share = f"{100 * r['peak_share']:.0f} % of {r['peak_tflops']:.2f} TFLOP/s"
        table.add_row(name, f"{r['ours']:.0f}", f"{r['bare']:.0f}", f"{r['ratio']:.2f}", share)
    out.print(table)
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in result["triggers"].items())
    say(f"applying a trigger to 256 images, as a share of encoding them: {shares}")
    a = result["attribution"]
    took = ", ".join(f"{mb:.0f} MB for {pairs} pairs" for pairs, mb in result["memory"].items())
    say(
        f"attribution of 1,000 pairs: {a['last']:.2f} s from the last block, {a['first']:.2f} s from the first; a plain"
        f" forward and backward of the same {a['plain']:.2f} s, {a['last'] / a['plain']:.2f} and"
        f" {a['first'] / a['plain']:.2f} times; it takes {took}"
    )
    say(f"drawing scenes: {result['draw']:.0f} images/s on one core")


def _print_busy(rounds: int) -> None:
    from ubt.cli.bench_runs.busy import measure, report

    found = measure(rounds=rounds, say=_tell)
    columns, title = ("work", "while OpenMP waits", "", "speed", "ratio to alone"), "median (range) of"
    table = Table(*columns, title=f"{found['processor']}, {found['cores']} cores: {title} {rounds} rounds")
    for row in report(found):
        table.add_row(*row)
    out.print(table)


def print_app(sizes: list[int], cache: Path, file: Path | None) -> None:
    """Measure the app over generated cases of each size; print a Markdown table, and write JSON to `file`."""
    from ubt.cli.bench_runs import app as bench_app

    if file is not None:
        check_writable(file)
    results = []
    for pairs in sizes:
        results.append(bench_app.measure(cache, pairs, _tell))
        if file is not None:
            bench_app.write(results, file)
    print("| | " + " | ".join(f"{pairs:,} pairs" for pairs in sizes) + " |\n|" + " --- |" * (len(sizes) + 1))
    for what, values in bench_app.report(results):
        print(f"| {what} | {' | '.join(values)} |")


def _print_walk(cache: Path) -> None:
    from ubt.cli.bench_runs.walk import measure

    print("| slider, ms (median, 95 %) | alone | beside two busy processes |\n| --- | --- | --- |")
    for title, loads in measure(cache, _tell).items():
        answers = (f"{took['median']:.0f}, {took['p95']:.0f}" for took in loads.values())
        print(f"| {title} | {' | '.join(answers)} |")


def _print_review(cache: Path, keys: int) -> None:
    from ubt.cli.bench_runs.review import measure

    print("| | keys | wrong | lost | median, ms | 95 %, ms |\n| --- | --- | --- | --- | --- | --- |")
    titles = {"alone": "alone", "beside": "beside two busy processes"}
    for load, r in measure(cache, keys, _tell).items():
        figures = f"{r['keys']} | {r['wrong']} | {r['lost']} | {r['median']:.0f} | {r['p95']:.0f}"
        print(f"| {titles[load]} | {figures} |")


def _print_sessions(cache: Path, browsers: int, minutes: float) -> None:
    from ubt.cli.bench_runs.sessions import measure, report

    print("| | |\n| --- | --- |")
    for what, figures in report(measure(cache, browsers, minutes, _tell)):
        print(f"| {what} | {figures} |")


def _print_kills(cache: Path, count: int) -> None:
    from ubt.cli.bench_runs.kills import measure, report

    found = measure(cache / "kills", count, say=_tell)
    print("| work | kills | by the clock | at a file | results that differ | left in work/ | bytes that prune frees |")
    print("|" + " --- |" * 7)
    for row in report(found):
        print(f"| {' | '.join(row)} |")
    spoilt = [what for of in found["work"].values() for what in (*of.differences, *of.left)]
    if spoilt or found["left"] or found["freed"]:
        raise UbtError(
            "expected equal results and nothing left, got"
            f" {', '.join(dict.fromkeys([*spoilt, *found['left']])) or found['freed']}"
        )


def _print_stages(sizes: list[int], cache: Path, rounds: int) -> None:
    from ubt.cli.bench_runs.pairs import compare

    for pairs in sizes:
        r = compare(cache / "pairs", pairs, rounds)
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in r["stages"].items())
        say(
            f"{pairs:,} pairs through score, split and select: {r['ours']:.1f} s ({stages}), a bare loop"
            f" {r['bare']:.1f} s, {r['ratio']:.2f} times ({r['cpu_ratio']:.2f} in processor time); at most"
            f" {r['memory']:.0f} MB of its own, the loop {r['bare_memory']:.0f} MB; D_topk"
            f" {'alike' if r['same'] else 'NOT ALIKE'}"
        )


def _print_profile(where: Compute, sizes: list[int] | None) -> None:
    from ubt.cases.settings import CaseSettings
    from ubt.cli.bench_runs.profile import profile, report

    settings = CaseSettings().with_values({"data.pairs": sizes[0]} if sizes else {})
    print(f"{settings.data.pairs:,} pairs on {where}")
    print("| stage | s | % of the time | 10^9 operations | share of the peak |\n| --- | --- | --- | --- | --- |")
    for row in report(profile(settings, where)):
        print(f"| {' | '.join(row)} |")


def _print_growth(sizes: list[int], cache: Path) -> None:
    from ubt.cli.bench_runs.growth import measure, report

    figures = []
    for pairs in sizes:
        _tell(f"{pairs:,} pairs")
        figures.append(measure(cache / "pairs", pairs))
    columns = [f"{pairs:,} pairs" for pairs in sizes] + ["exponent of time", "of memory"] * (len(sizes) > 1)
    print(f"| stage | {' | '.join(columns)} |\n|" + " --- |" * (len(columns) + 1))
    for row in report(sizes, figures):
        print(f"| {' | '.join(row)} |")


def _print_gpu(device: str, precision: str, batch: int, rounds: int) -> None:
    from ubt.cli.bench_runs.gpu import measure

    measure(compute("cpu" if device == "cpu" else "auto", precision), say, batch=batch, rounds=rounds)


def _tell(text: str) -> None:
    err.print(text, highlight=False)
