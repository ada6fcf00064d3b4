"""What logs are told of a sweep, read back from their files."""

import json
import math
import sys

import networks
import pytest

import lesion
from lesion.sweeps import logbook
from lesion.sweeps.logs import check, opened, plugins


class Kept:
    """A log that keeps what it is told."""

    def __init__(self):
        self.about, self.points, self.tables, self.whole = {}, [], {}, None

    def begin(self, about):
        self.about = dict(about)

    def numbers(self, numbers, at, axis):
        self.points.append((axis, at, dict(numbers)))

    def table(self, name, rows):
        self.tables[name] = rows

    def end(self, whole):
        self.whole = whole


def sweep(log, **options):
    network, data = networks.plain(60)
    given = {"ratios": (0.25, 0.5), "full": True, "holdout": 0, **options}
    return lesion.sweep(network, data, log=log, **given)


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(logbook, "EVERY", 0.0)


def test_logs_are_told_the_subject_each_step_and_what_came_out(every_step):
    log, steps = Kept(), []
    study = sweep(log, progress=steps.append)
    assert log.about["lesions"] == 4 and log.about["layers"] == 2 and log.about["images"] == 60
    assert log.about["goal"] == "full" and log.about["damage"] == "filters"
    told = [(at, numbers) for axis, at, numbers in log.points if axis == "answers"]
    assert [at for at, _ in told] == [step.done for step in steps]
    assert told[-1][1]["sweep/share"] == 1.0 and told[-1][1]["sweep/images"] == 60
    curves = study.curves()
    of_amounts = {at: numbers for axis, at, numbers in log.points if axis == "amount"}
    assert sorted(of_amounts) == [25, 50]
    for row in curves[curves["drop"].notna()].to_dict("records"):
        numbers = of_amounts[round(100 * row["amount"])]
        assert numbers[f"drop/{row['layer']}"] == row["drop"]
        assert numbers[f"accuracy/{row['layer']}"] == row["accuracy"]
    assert log.tables["curves"].equals(curves[curves["criterion"] == "l1"])
    assert list(log.tables["layers"]["layer"]) == ["a", "b", "fc"]
    assert log.whole is True


def test_a_fast_sweep_is_noted_once():
    log = Kept()
    sweep(log).close()
    assert [axis for axis, _, _ in log.points].count("answers") == 1


def test_what_is_broken_off_is_told_so():
    log = Kept()

    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        sweep(log, progress=stop)
    assert caught.traceback  # still held, and yet:
    assert log.whole is False and not log.tables


def test_lines_of_json_are_read_back(tmp_path, every_step):
    path = tmp_path / "log.jsonl"
    study = sweep(f"jsonl:{path}")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [rows[0]["event"], rows[-1]["event"], rows[-1]["whole"]] == ["begin", "end", True]
    assert all(math.isfinite(row["time"]) for row in rows)
    curves = [row for row in rows if row.get("table") == "curves"]
    frame = study.curves().query("layer != 'fc'")
    assert [row["layer"] for row in curves] == list(frame["layer"])
    for row, drop in zip(curves, frame["drop"], strict=True):
        assert row["drop"] == drop or (row["drop"] is None and math.isnan(drop))
    before = len(rows)
    sweep(f"jsonl:{path}").close()
    assert len(path.read_text().splitlines()) > before  # another sweep adds to it


def test_tensorboard_reads_it_back(tmp_path, every_step):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = []
    study = sweep(f"tensorboard:{tmp_path / 'tb'}", progress=steps.append)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars("sweep/share")] == [step.done for step in steps]
    curves = study.curves()
    rows = curves[curves["layer"] == "b"]
    drops = [(event.step, event.value) for event in events.Scalars("drop/b")]
    assert drops == [
        (round(100 * row["amount"]), pytest.approx(row["drop"], abs=1e-5))
        for row in rows.to_dict("records")
    ]
    (text,) = events.Tensors("curves/text_summary")
    assert b"| layer |" in text.tensor_proto.string_val[0]


def test_several_logs_are_told_the_same(tmp_path):
    logs = [Kept(), f"jsonl:{tmp_path / 'a'}", Kept()]
    sweep(logs).close()
    assert logs[0].about == logs[2].about and logs[0].whole
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize("text", ["jsonl", "jsonl:", ""])
def test_a_log_needs_its_place(text):
    with pytest.raises(lesion.LesionError, match="Expected a log and its place"):
        check([text])


def test_another_kind_of_log_is_refused_with_those_there_are():
    assert plugins.names() == ["jsonl", "mlflow", "tensorboard", "wandb"]
    with pytest.raises(lesion.LesionError, match=r"Expected a kind of log \(jsonl, mlflow, "):
        check(["json:x"])
    with pytest.raises(lesion.LesionError, match="Expected texts such as 'jsonl:FILE', got 3"):
        sweep(3)


@pytest.mark.parametrize(
    ("kind", "module"),
    [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")],
)
def test_a_missing_package_is_one_sentence(monkeypatch, tmp_path, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(lesion.LesionError) as caught:
        opened(f"{kind}:{tmp_path / 'x'}")
    assert str(caught.value) == (
        f"Expected {kind}, which --log {kind}:… needs, but it is not installed; "
        f'run pip install "lesion[{kind}]".'
    )


def test_a_log_in_the_place_of_a_study_is_refused(tmp_path):
    network, data = networks.plain(40)
    lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True).close()
    with pytest.raises(lesion.LesionError, match="is a study, which would be lost"):
        opened(f"jsonl:{tmp_path / 's'}")
