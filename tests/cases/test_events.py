"""What a run tells: throttled, appended, readable after a kill."""

from ubt.cases import events
from ubt.cases.events import Event, Journal


def test_events_come_back_and_a_cut_line_costs_one_event(tmp_path):
    path = tmp_path / "events.jsonl"
    tell = Journal(path, fresh=True)
    tell(Event("starts", "poison"))
    tell(Event("progress", "poison", 3, 3, 1.5, {"loss": 2.0}))
    with path.open("a") as f:
        f.write('{"kind": "prog')
    again = Journal(path, fresh=False)
    again(Event("done", "poison", seconds=2.0))
    told = events.read(path)
    assert [e.kind for e in told] == ["run", "starts", "progress", "run", "done"]
    assert told[2].figures == {"loss": 2.0}
    Journal(path, fresh=True)
    assert [e.kind for e in events.read(path)] == ["run"]


def test_progress_is_throttled_but_new_figures_and_the_last_step_are_not(tmp_path):
    path = tmp_path / "events.jsonl"
    tell = Journal(path, fresh=True)
    for step in range(1, 101):
        tell(
            Event(
                "progress",
                "unlearn",
                step,
                100,
                figures={"loss": 1.0} | ({"asr": 5.0} if step == 50 else {}),
                at=1000 + step / 1000,
            )
        )
    steps = [e.done for e in events.read(path) if e.kind == "progress"]
    assert {1, 50, 100} <= set(steps)
    assert len(steps) < 10


def test_what_earlier_runs_spent_counts_where_one_goes_on_and_not_where_it_starts_over(tmp_path):
    path = tmp_path / "events.jsonl"
    for done, seconds in ((3, 30.0), (5, 55.0)):
        tell = Journal(path, fresh=False)
        for stage in ("poison", "overfit"):
            tell(Event("progress", stage, done, 9, seconds, {str(done): 0.0}))
        tell(Event("done", "poison", seconds=99.0))
    again = Journal(path, fresh=False)
    again(Event("progress", "poison", 7, 9, 70.0))
    assert [again.spent("poison", done) for done in (6, 5, 4, 3, 1)] == [55, 30, 30, 0, 0]
    assert Journal(path, fresh=True).spent("poison", 9) == 0


def test_no_file_no_room_and_rubbish_mean_no_events(tmp_path):
    assert events.read(tmp_path / "none") == []
    Journal(tmp_path / "no" / "folder", fresh=True)(Event("starts", "data"))
    (tmp_path / "rubbish").write_bytes(b'\xff\x00\n{"kind": 3, "no": 1}\n[]\n')
    assert events.read(tmp_path / "rubbish") == []
