"""What is loaded to predict, and how much is imported for that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec
from saccade.runs import RunFolder
from saccade.trained import TrainedNetwork
from saccade.use.opened import device_for, open_trained

# Each takes from a tenth of a second to more than a second of every prediction.
NOT_NEEDED = {"torchvision", "sklearn", "matplotlib", "scipy.stats", "torch._dynamo", "jinja2", "timm"}


def _imported(program: str, *words: str) -> set[str]:
    code = f"import sys\n{program}\nimport json; print(json.dumps(sorted(sys.modules)), file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_predict_imports_nothing_that_it_does_not_need(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    # A network of every kind of layer that torch computes on the meta device by its compiler: BatchNorm and joins.
    network = build_network(NetworkSpec("densenet121", 3, 64), seed=0).eval()
    project = tmp_path / "project"
    run = RunFolder.create(project, "densenet121")
    run.write_recipe(finished.recipe)
    run.save_weights("best", TrainedNetwork(network, ("a", "b", "c"), finished.load().preparation))
    program = "from saccade.cli import run_command_line\nassert run_command_line(['predict', *sys.argv[1:]]) == 0"
    rows = tmp_path / "rows.csv"
    found = _imported(program, str(run.path), str(colours / "red"), "--output", str(rows), "--quiet", "--device", "cpu")
    assert "torch" in found
    assert rows.read_text().count("\n") == 21
    assert found & NOT_NEEDED == set()


def test_loading_a_classifier_in_python_imports_nothing_that_trains(finished: RunFolder, colours: Path) -> None:
    program = "import saccade\nassert saccade.load(sys.argv[1], device='cpu').predict(sys.argv[2])[0].class_name"
    found = _imported(program, str(finished.path), str(colours / "red" / "00.png"))
    assert {"saccade.pipeline", "saccade.training.loop", "torchvision", "sklearn", "torch._dynamo"} & found == set()


def test_run_folder_and_last_weights_are_opened(finished: RunFolder) -> None:
    for which in ("best", "last"):
        found = open_trained(finished.path, which).network.state_dict()  # type: ignore[arg-type]
        expected = finished.load(which).network.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_run_computes_on_the_device_that_was_asked_for(finished: RunFolder) -> None:
    assert device_for(open_trained(finished.path), "cpu") == torch.device("cpu")
