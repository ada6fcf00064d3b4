"""Who is told how far a sweep is, and studies in files that go with them."""

import gc
import sys
import types

import networks
import pytest

import lesion
from lesion.sweeps import progress
from lesion.sweeps.progress import Progress, exhausted, telling

STEPS = [Progress(10, 30), Progress(20, 50), Progress(40, 40)]


class Closable:
    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(progress, "seen", lambda: True)


def test_a_function_is_called_with_each_step():
    told = []
    study = Closable()
    assert exhausted(STEPS, study, told.append) is study
    assert told == STEPS and not study.closed


def test_a_bar_ends_where_the_forecast_does(watched, capsys):
    exhausted(STEPS, Closable(), True)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.rstrip().rsplit("\r", 1)[-1]
    assert "measuring: 100%" in last and "40/40" in last and "answers/s" in last


@pytest.mark.parametrize("asked", [False, None])
def test_silence_where_it_is_asked(watched, capsys, asked):
    exhausted(STEPS, Closable(), asked)
    assert capsys.readouterr() == ("", "")


def test_silence_where_nobody_sees_it(capsys):
    exhausted(STEPS, Closable(), True)
    assert capsys.readouterr() == ("", "")


def shell(config):
    """A module that stands in for IPython's."""
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: types.SimpleNamespace(config=config)
    return module


@pytest.mark.parametrize(
    ("terminal", "config", "is_seen"),
    [
        (True, None, True),
        (False, None, False),
        (False, {}, False),
        (False, {"IPKernelApp": 1}, True),
    ],
)
def test_a_bar_is_seen_at_a_terminal_and_in_a_notebook(monkeypatch, terminal, config, is_seen):
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if config is not None:
        monkeypatch.setitem(sys.modules, "IPython", shell(config))
    assert progress.seen() is is_seen


def test_nothing_is_seen_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not progress.seen()


def test_the_study_is_closed_where_a_step_raises():
    study = Closable()

    def steps():
        yield STEPS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exhausted(steps(), study, False)
    assert study.closed


def test_telling_gives_the_function_itself():
    with telling(print) as tell:
        assert tell is print


def sweep(**options):
    network, data = networks.plain(40)
    return lesion.sweep(network, data, ratios=(0.5,), full=True, **options)


def test_a_study_without_a_name_goes_with_its_file():
    study = sweep()
    path = study.path
    assert path.exists() and study.temporary and "a temporary file" in repr(study)
    assert len(study.curves()) == 3
    study.close()
    assert not path.exists() and not path.parent.exists()
    study.close()


def test_a_study_that_nobody_holds_goes_with_its_file():
    study = sweep()
    folder = study.path.parent
    del study
    gc.collect()
    assert not folder.exists()


def test_a_named_study_stays(tmp_path):
    sweep(out=tmp_path / "s").close()
    assert (tmp_path / "s").exists()


def test_no_temporary_folder_is_left_by_what_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(lesion.LesionError):
        sweep(images=5, layers=("nowhere",))

    def stop(step):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        sweep(progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_what_is_no_progress_is_told(value):
    with pytest.raises(lesion.LesionError, match=r"Expected True, False or a function, got"):
        sweep(progress=value)
