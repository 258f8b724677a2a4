"""The five classic exercises: scripts and commands run, shortened; pages quote their records and nothing else."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import saccade
from saccade.cli import run_command_line

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "exercises"
NAMES = sorted(path.name for path in (ROOT / "examples").glob("[0-9]_*"))
WHERE = {
    "cifar10.zip": "data/cifar10.zip",
    "mnist": "data/mnist",
    "cats_and_dogs_small.zip": "data/cats_and_dogs_small.zip",
    "resnet18_tiny64.safetensors": "weights/resnet18_tiny64.safetensors",
}
WITH_FEWEST = ("2_alexnet", "5_family")  # their networks are large
# What makes a training cheaper and no command another one: 4096 units after 4096 are most of AlexNet's weights, which
# are written often; the fastest mode is found by timing every network in each; one seed shows what three do; the
# activations of a DenseNet for 500 pictures take many gigabytes; pictures of 32 pixels stand for those of 64 and 96.
PLAIN: dict[str, object] = {"precision": "float32", "layout": "channels_last", "compile": "off"}
LIGHTER: dict[tuple[str, str], dict[str, object]] = {
    ("2_alexnet", "train"): {"head": "64", "image_size": 67, "small_first": "67"} | PLAIN,
    ("2_alexnet", "compare"): {"head": "64", "image_size": 67} | PLAIN,
    ("3_three_kinds", "train"): {"image_size": 32} | PLAIN,
    ("3_three_kinds", "compare"): {"seeds": 1, "image_size": 32} | PLAIN,
    ("4_cats_and_dogs", "train"): {"image_size": 32} | PLAIN,
    ("4_cats_and_dogs", "compare"): {"image_size": 32} | PLAIN,
    ("5_family", "train"): {"batch_size": 50, "fraction": 0.2} | PLAIN,
}
FIELDS = {"name", "command", "seed", "n", "machine", "versions", "date", "seconds", "values"}
MOST_LINES, MOST_BYTES, MOST_BYTES_TOGETHER = 40, 200_000, 1_000_000


def _fill() -> ModuleType:
    spec = spec_from_file_location("fill", PAGES / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _page(name: str) -> Path:
    return PAGES / f"{name.replace('_', '-')}.md"


def _script(name: str) -> Path:
    return ROOT / "examples" / name / f"{name.partition('_')[2]}.py"


@pytest.fixture
def place(fewer: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Fewer pictures and the weights as a user would have them, in a folder where an exercise can run."""
    for name, source in WHERE.items():
        few = name == "cifar10.zip" and request.getfixturevalue("name") in WITH_FEWEST
        (tmp_path / name).symlink_to(fewer / (source.replace("cifar10", "cifar10-few") if few else source))
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # as seen from the checkout
    return tmp_path


def _run(arguments: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = os.environ | {"OMP_NUM_THREADS": "1", "SACCADE_SHORT": "1", "PATH": path, "PYTHONWARNINGS": "default"}
    done = subprocess.run(arguments, cwd=folder, env=own, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _shortened(script: str) -> str:
    """commands.sh with the flags of its `# short:` line after every training and comparison.

    A line `# short compare:` has other flags for comparisons, which know some that trainings do not.
    """
    found = re.findall(r"^# short( compare)?: (.+)$", script, flags=re.MULTILINE)
    flags = {command.strip() or "train": words for command, words in found}
    assert "train" in flags, "commands.sh names no short settings"
    lines = script.replace("\\\n", " ").splitlines()
    return "\n".join(
        f"{line} {flags.get(_command(line), flags['train'])}" if _command(line) else line for line in lines
    )


def _command(line: str) -> str:
    """`train` or `compare` where a line is that, with pictures; comparing finished runs takes no time."""
    match = re.match(r"saccade (train|compare) (?!runs/)", line)
    return match[1] if match else ""


def _lighten(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trainings and comparisons of a script what LIGHTER says."""
    train, compare = saccade.train, saccade.compare

    def lighter_train(*words: Any, **named: Any) -> object:
        return train(*words, **(named | LIGHTER.get((name, "train"), {})))

    def lighter_compare(*words: Any, changes: dict[str, object], **named: Any) -> object:
        fields = dict(LIGHTER.get((name, "compare"), {}))
        seeds = {"seeds": fields.pop("seeds")} if "seeds" in fields else {}
        return compare(*words, changes=changes | fields, **(named | seeds))

    monkeypatch.setattr(saccade, "train", lighter_train)
    monkeypatch.setattr(saccade, "compare", lighter_compare)


def _flags(fields: Mapping[str, object]) -> list[str]:
    return [word for field, value in fields.items() for word in (f"--{field.replace('_', '-')}", str(value))]


def _parts(script: str) -> list[str]:
    """Commands of saccade, a line each, and what stands between them."""
    return [part for part in re.split(r"^(saccade .*)\n?", script, flags=re.MULTILINE) if part.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_script_of_an_exercise_with_short_settings_runs_and_draws(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("SACCADE_SHORT", "1")
    monkeypatch.syspath_prepend(_script(name).parent)
    monkeypatch.delitem(sys.modules, "drawing", raising=False)  # every exercise has its own
    _lighten(name, monkeypatch)
    runpy.run_path(str(_script(name)), run_name="__main__")
    assert list((place / "runs").iterdir())
    assert list((place / "figures").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_commands_of_an_exercise_with_short_settings_run(
    name: str, command: Callable[[Sequence[str], Path], str], place: Path
) -> None:
    commands = (ROOT / "examples" / name / "commands.sh").read_text(encoding="utf-8")
    for part in _parts(_shortened(commands).replace("range(10_000)", "range(1000)")):
        if part.startswith("saccade "):
            assert not set(part) & set("$`*?~;|&<>()[]{}!#\"'\\"), f"means something to the shell alone: {part}"
            command([*part.split()[1:], *_flags(LIGHTER.get((name, _command(part)), {}))], place)
        else:
            _run(["bash", "-euo", "pipefail", "-c", part], place)
    assert list((place / "runs").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_script_of_an_exercise_is_short_and_says_what_it_does(name: str) -> None:
    text = _script(name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert text.startswith('"""')
    assert "import saccade" in text


@pytest.mark.parametrize("name", NAMES)
def test_page_of_an_exercise_names_script_commands_and_records(name: str) -> None:
    text = _page(name).read_text(encoding="utf-8")
    for target in (f"examples/{name}/{_script(name).name}", f"examples/{name}/commands.sh"):
        assert target in text, target
    assert f"<!--= {name.partition('_')[2]}.records -->" in text


@pytest.mark.parametrize("name", NAMES)
def test_links_and_figures_of_a_page_exist_and_are_small(name: str) -> None:
    text = _page(name).read_text(encoding="utf-8")
    links = set(re.findall(r"\]\((?!https?://)([^)#]+)", text))
    for target in links:
        assert (PAGES / target).exists(), target
    sizes = [(PAGES / target).stat().st_size for target in links if target.startswith("figures/")]
    assert sizes
    assert max(sizes) <= MOST_BYTES
    assert sum(sizes) <= MOST_BYTES_TOGETHER


@pytest.mark.parametrize("name", NAMES)
def test_layer_tables_of_a_page_are_what_the_command_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for block in re.findall(r"^```\n(\$ saccade models .*?)^```$", _page(name).read_text("utf-8"), re.M | re.S):
        for command, *shown in (part.splitlines() for part in re.split(r"^\$ saccade ", block, flags=re.M)[1:]):
            assert run_command_line(shlex.split(command)) == 0
            printed = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
            assert {" ".join(line.split()) for line in shown if line.strip()} <= printed, command


@pytest.mark.parametrize("name", NAMES)
def test_records_of_an_exercise_are_whole(name: str) -> None:
    records = json.loads((PAGES / "records" / f"{name}.json").read_text(encoding="utf-8"))
    assert records
    for record in records:
        assert set(record) - {"processor_seconds"} == FIELDS, record["name"]
        assert not re.search(r"/(home|tmp|work)/", json.dumps(record)), record["name"]


def test_pages_quote_their_records_exactly() -> None:
    assert _fill().main(["--check"]) == 0


def _small(folder: Path, page: str) -> None:
    (folder / "records").mkdir()
    record = {"name": "cnn1", "command": "saccade train mnist", "seed": 0, "n": 10, "machine": "one", "date": "today"}
    record |= {"versions": {"saccade": "0"}, "seconds": 3.0, "values": {"accuracy": 0.98765}}
    (folder / "records" / "1_digits.json").write_text(json.dumps([record]))
    (folder / "1-digits.md").write_text(page)


def test_fill_a_stale_number_is_reported_then_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _small(
        tmp_path, "It has <!--= digits.accuracy:.1% -->97.0 %<!-- --> in <!--= digits.cnn1.seconds:.0f -->9<!-- -->."
    )
    fill = _fill()
    assert fill.main(["--check"], tmp_path) == 1
    assert "1-digits.md is stale" in capsys.readouterr().err
    assert fill.main([], tmp_path) == 0
    assert re.sub(r"<!--.*?-->", "", (tmp_path / "1-digits.md").read_text()) == "It has 98.8 % in 3."
    assert fill.main(["--check"], tmp_path) == 0


def test_fill_records_become_a_table_once(tmp_path: Path) -> None:
    _small(tmp_path, "<!--= digits.records --><!-- -->\n")
    fill = _fill()
    assert fill.main([], tmp_path) == 0
    assert fill.main(["--check"], tmp_path) == 0
    assert (tmp_path / "1-digits.md").read_text().count("`saccade train mnist`") == 1


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("It has <!--= digits.precision:.1% -->97.0 %<!-- -->.", "the records of digits have no 'precision'"),
        ("It has <!--= letters.accuracy:.1% -->97.0 %<!-- -->.", "no file of records called 'letters'"),
        ("<!--= digits.accuracy:.1% -->97.0 %<!-- --> it has.", "not at its beginning"),
        ("- It has\n  <!--= digits.accuracy:.1% -->97.0 %<!-- -->.", "not at its beginning"),
    ],
)
def test_fill_a_marker_without_its_value_is_refused(
    page: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _small(tmp_path, page)
    assert _fill().main([], tmp_path) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "1-digits.md").read_text() == page


def test_shortened_commands_train_and_compare_get_the_flags() -> None:
    script = "# short: --epochs 1\n# short compare: --seeds 1\nsaccade train mnist \\\n  --model cnn1\n"
    script += "saccade compare mnist\nsaccade compare runs/a runs/b\nsaccade predict runs/mnist mnist\n"
    words = [shlex.split(line) for line in _shortened(script).splitlines()[2:]]
    assert words == [
        ["saccade", "train", "mnist", "--model", "cnn1", "--epochs", "1"],
        ["saccade", "compare", "mnist", "--seeds", "1"],
        ["saccade", "compare", "runs/a", "runs/b"],
        ["saccade", "predict", "runs/mnist", "mnist"],
    ]
