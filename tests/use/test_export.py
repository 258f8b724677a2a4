"""Files that a run is exported to: they answer as the run does, or are not written."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.api import Run
from saccade.api import load as load_classifier
from saccade.cli import run_command_line
from saccade.data.decode import DecodeRules
from saccade.data.prepare import Preparation
from saccade.errors import DataError, ExportError, ModelError, UsageError
from saccade.models.catalogue import build_network
from saccade.models.certainty import Certainty
from saccade.models.network import NetworkSpec
from saccade.runs import RunFolder
from saccade.screen import QuietScreen
from saccade.trained import TrainedNetwork
from saccade.use.export import Wish, export_run, run_hash
from saccade.use.export_graph import Whole, graph_of
from saccade.use.export_onnx import joined, onnx_parts
from saccade.use.export_parity import WITH_RESIZING, WITHOUT_RESIZING, Bounds, Runs, enlarged, try_out
from saccade.use.export_pictures import made_up, sample_of_file
from saccade.use.heatmaps import Question, heat_maps
from saccade.use.onnx_file import CARD_KEY, open_onnx, open_session, run_session
from saccade.use.sheets import CELL

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
DOCS = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`finished` as float32 ONNX."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    Run(finished).export(path, quiet=True)
    return path


def encoded(image: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def odd_pictures() -> list[tuple[str, bytes]]:
    """FAULTS A that are used: modes, depths, frames, turns and shapes."""
    waves = np.sin(np.linspace(0, 9, 61)[:, None, None] + np.linspace(0, 5, 47)[None, :, None] * np.array([1, 2, 3]))
    image = Image.fromarray((128 + 120 * waves).astype(np.uint8))
    grey, exif = image.convert("L"), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    transparent = image.convert("RGBA")
    transparent.putalpha(grey)
    return [
        ("a07.png", encoded(image, "JPEG")),
        ("a10.avif", encoded(image, "AVIF")),
        ("a11.jpg", encoded(image.convert("CMYK"), "JPEG")),
        ("a12.png", encoded(deep, "PNG")),
        ("a13-bit.png", encoded(grey.convert("1"), "PNG")),
        ("a13-palette.gif", encoded(image.convert("P"), "GIF")),
        ("a13-alpha.png", encoded(transparent, "PNG")),
        ("a14.jpg", encoded(grey, "JPEG")),
        ("a15.jpg", encoded(image, "JPEG", exif=exif)),
        ("a16.gif", encoded(image, "GIF", save_all=True, append_images=[grey.convert("RGB")])),
        ("a17.png", encoded(image.resize((400, 9)), "PNG")),
        ("a18.jpg", encoded(image.resize((2300, 2100), Image.Resampling.BICUBIC), "JPEG")),
        ("a24.webp", encoded(Image.new("RGB", (33, 20), (9, 99, 199)), "WEBP")),
    ]


def test_exported_file_answers_as_the_run_on_all_odd_formats(
    exported: Path, finished: RunFolder, tmp_path: Path
) -> None:
    trained, session = finished.load(), onnxruntime.InferenceSession(exported)
    classifier = load_classifier(finished.path, device="cpu")
    for name, data in odd_pictures():
        (tmp_path / name).write_bytes(data)
        expected = {guess.class_name: guess.probability for guess in classifier.predict(tmp_path / name)[0].guesses}
        sample = sample_of_file(name, data, trained.preparation)
        for pixels in [sample.pixels] + ([] if sample.in_full is None else [sample.in_full]):
            found = session.run(["probabilities"], {"pictures": pixels[None]})[0][0]
            assert found.tolist() == pytest.approx(
                [expected[each] for each in trained.class_names], abs=0.01 if pixels is sample.in_full else 1e-4
            ), name


def test_exported_file_takes_a_batch_of_any_size(exported: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 31, 77, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(exported)
    probabilities, best, logits = session.run(["probabilities", "class", "logits"], {"pictures": pictures})
    assert probabilities.shape == logits.shape == (5, 3)
    assert best.tolist() == logits.argmax(axis=1).tolist()
    alone = np.concatenate([session.run(["logits"], {"pictures": one[None]})[0] for one in pictures])
    assert np.allclose(alone, logits, atol=1e-4)


def test_exported_file_carries_what_is_needed_to_use_it(exported: Path, finished: RunFolder) -> None:
    metadata = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list(finished.class_names)
    assert (metadata["image_size"], metadata["fit"], metadata["precision"]) == ("32", "squash", "float32")
    assert float(metadata["temperature"]) == finished.load().certainty.temperature
    assert metadata["run_hash"] == run_hash(finished)
    assert "random weights" in metadata["licence"]
    checked = json.loads(metadata[CARD_KEY])["checked"]
    assert checked["parity"]["real"]
    assert checked["parity"]["without_resizing"]["largest"] <= 1e-4


def test_exported_file_says_nothing_about_this_machine(exported: Path) -> None:
    assert b".py" not in exported.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in exported.read_bytes()


def test_loaded_file_predicts_as_the_run(exported: Path, finished: RunFolder, colours: Path) -> None:
    from_file, from_run = (load_classifier(path, device="cpu").predict(colours) for path in (exported, finished.path))
    assert [one.class_name for one in from_file] == [one.class_name for one in from_run]
    for one, other in zip(from_file, from_run, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-4)


def test_loaded_file_gives_the_same_bits_alone_and_among_others(exported: Path, colours: Path) -> None:
    classifier = load_classifier(exported)
    together = classifier.predict(colours)[7]
    assert classifier.predict(together.name)[0].guesses == together.guesses


@pytest.mark.parametrize("method", ["gradcam", "features", "filters"])
def test_loaded_file_says_which_explanations_need_the_run(
    exported: Path, colours: Path, method: Literal["gradcam", "features", "filters"]
) -> None:
    with pytest.raises(UsageError, match="need the run that the ONNX file was exported from"):
        load_classifier(exported).explain(colours / "red" / "00.png", method=method)


def test_explain_command_draws_for_the_file_what_it_draws_for_the_run_by_occlusion(
    exported: Path, finished: RunFolder, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, drawn = str(colours / "red" / "03.png"), []
    for run, words in ((exported, []), (finished.path, ["--method", "occlusion"])):
        out = tmp_path / run.name
        assert run_command_line(["explain", str(run), picture, *words, "--output", str(out)]) == 0
        said = capsys.readouterr()
        assert said.out == f"{out}/03-occlusion.png\n"
        assert ("feature maps and filters need the run" in said.err) is (run is exported)
        image = np.asarray(Image.open(out / "03-occlusion.png").convert("L"), dtype=float)
        drawn.append(image[-CELL - 40 : -40, -CELL - 10 : -10].ravel())  # the heat, below the words
    assert np.corrcoef(drawn[0], drawn[1])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["x.png", "--method", "gradcam"], "need the run"),
        (["--method", "filters"], "need the run"),
        (["x.png", "--stage", "block1"], "looks at no stage"),
        (["--sheet"], "does not know the run's test pictures"),
        (["--mistakes", "3"], "does not know the run's test pictures"),
    ],
)
def test_explain_command_refuses_what_the_file_cannot_do(
    exported: Path, colours: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(colours / "red" / "00.png") if word == "x.png" else word for word in words]
    assert run_command_line(["explain", str(exported), *named]) == 2
    assert what in capsys.readouterr().err


def test_loaded_file_is_explained_by_occlusion_as_the_run(exported: Path, finished: RunFolder, colours: Path) -> None:
    squares = [np.asarray(Image.open(colours / name / "03.png").resize((24, 24))) for name in ("red", "blue")]
    question = Question("occlusion", None, "green")
    found, expected = (
        np.stack([Image.fromarray(one.heat).resize((32, 32)) for one in heat_maps(trained, squares, question)])
        for trained in (open_onnx(exported).trained, finished.load())
    )
    same = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(found, expected, strict=True)]
    other = np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]
    assert min(same) > max(0.97, other)  # not 1: the file covers places before it enlarges
    path = colours / "red" / "00.png"
    assert load_classifier(exported).explain(path, method="occlusion")[0].image is not None


def test_predict_command_takes_the_file(exported: Path, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["predict", str(exported), str(colours / "red" / "00.png")]) == 0
    assert "red" in capsys.readouterr().out


def test_python_example_of_the_page_runs(exported: Path, colours: Path, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[1]
    shutil.copy(exported, tmp_path / "model.onnx")
    Image.open(colours / "red" / "00.png").save(tmp_path / "picture.jpg")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("red ")


_NODE = """
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { classify } from "./classify.mjs";
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync("model.onnx")));
const image = { data: new Uint8Array(readFileSync("picture.raw")), width: 24, height: 20 };
console.log(JSON.stringify(await classify(session, JSON.parse(readFileSync("classes.json")), image)));
"""


def test_javascript_example_of_the_page_runs(
    exported: Path, finished: RunFolder, colours: Path, tmp_path: Path
) -> None:
    folder = os.environ.get("ONNXRUNTIME_WEB")
    if folder is None or shutil.which("node") is None:
        pytest.skip("needs node and ONNXRUNTIME_WEB, the folder whose node_modules holds onnxruntime-web")
    (tmp_path / "node_modules").symlink_to(Path(folder) / "node_modules")
    example = re.search(r"```js\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[1]
    (tmp_path / "classify.mjs").write_text(example)
    (tmp_path / "run.mjs").write_text(_NODE)
    shutil.copy(exported, tmp_path / "model.onnx")
    shutil.copy(finished.path / "classes.json", tmp_path)
    path = colours / "red" / "00.png"
    (tmp_path / "picture.raw").write_bytes(Image.open(path).convert("RGBA").tobytes())
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = load_classifier(finished.path, device="cpu").predict(path)[0]
    found = json.loads(done.stdout)
    assert found["name"] == expected.class_name
    assert found["probability"] == pytest.approx(expected.probability, abs=0.01)


def test_cpp_example_of_the_page_compiles(tmp_path: Path) -> None:
    include = os.environ.get("ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime")
    if shutil.which("g++") is None or not (Path(include) / "onnxruntime_cxx_api.h").is_file():
        pytest.skip("needs g++ and ONNXRUNTIME_INCLUDE, the folder of onnxruntime_cxx_api.h")
    example = re.search(r"```cpp\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[1]
    (tmp_path / "example.cpp").write_text(example)
    command = ["g++", "-std=c++17", "-fsyntax-only", f"-I{include}", str(tmp_path / "example.cpp")]
    subprocess.run(command, check=True)


def test_pt2_file_answers_as_the_run(finished: RunFolder, colours: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    found = export_run(finished, Wish("pt2", "float32", path), QuietScreen())
    assert found.parity.without_resizing.largest <= 1e-4
    about = {"saccade.json": ""}
    module = torch.export.load(path, extra_files=about).module()
    picture = np.array(Image.open(colours / "red" / "00.png"))
    best = module(torch.from_numpy(picture[None]))["class"].item()
    assert json.loads(json.loads(about["saccade.json"])["class_names"])[best] == "red"
    assert module(torch.zeros(3, 1, 90, 3, dtype=torch.uint8))["probabilities"].shape == (3, 3)


def test_int8_file_says_what_it_costs(finished: RunFolder, tmp_path: Path) -> None:
    found = export_run(finished, Wish("onnx", "int8", tmp_path / "model.onnx"), QuietScreen())
    metadata = open_onnx(found.path).card
    assert metadata.precision == "int8"
    counted = {metadata.checked[when]["num_pictures"] for when in ("before", "after")}
    assert counted == {finished.metrics["test"]["num_pictures"]}
    assert found.parity.without_resizing.same_labels > 0.9
    assert {"ONNX float32", "ONNX int8", "torch"} == set(found.milliseconds)
    kinds = {each.data_type for each in onnx.load(found.path).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds


def test_half_file_takes_and_gives_the_same_types(finished: RunFolder, exported: Path, tmp_path: Path) -> None:
    found = export_run(finished, Wish("onnx", "float16", tmp_path / "model.onnx"), QuietScreen())
    whole, half = (onnxruntime.InferenceSession(path) for path in (exported, found.path))
    assert [each.type for each in whole.get_outputs()] == [each.type for each in half.get_outputs()]
    assert found.path.stat().st_size < 0.7 * exported.stat().st_size
    assert found.parity.without_resizing.largest < 0.02


@pytest.mark.parametrize(
    ("model", "changes", "fit", "side"),
    [
        ("lenet5", {"in_channels": 1, "head": "gap:sigmoid"}, "pad", 28),
        pytest.param("timm/test_vit", {}, "crop", 64, marks=pytest.mark.slow),
        pytest.param("googlenet", {}, "squash", 64, marks=pytest.mark.slow),
    ],
)
def test_other_networks_as_onnx_answer_as_they_do(model: str, changes: dict[str, object], fit: str, side: int) -> None:
    torch.manual_seed(0)
    size = 32 if model == "lenet5" else side
    trained = TrainedNetwork(
        build_network(NetworkSpec(model, 2, size, **changes)).eval(),
        ("a", "b"),
        Preparation(side, int(changes.get("in_channels", 3)), fit, DecodeRules()),
        Certainty(0.5),
    )
    parts = onnx_parts(graph_of(trained), (trained.preparation.channels, size, size))
    answer, whole = (open_session(each.SerializeToString(), "x") for each in (parts.answer, joined(parts, {})))
    runs = Runs(
        lambda squares: run_session(answer, enlarged(trained, squares), "probabilities"),
        lambda pictures: run_session(whole, pictures, "probabilities"),
    )
    found = try_out(trained, made_up(trained.preparation), runs, Bounds(WITHOUT_RESIZING, WITH_RESIZING), real=False)
    assert found.including_resizing.num_pictures == 36


def test_export_of_a_file_that_answers_otherwise_fails_and_leaves_nothing(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(trained: TrainedNetwork, *, half: bool = False) -> Whole:
        whole = graph_of(trained, half=half)
        whole.answering.temperature *= 1000
        return whole

    monkeypatch.setattr("saccade.use.export.graph_of", wrong)
    path = tmp_path / "model.pt2"
    assert run_command_line(["export", str(finished.path), "--format", "pt2", "--output", str(path)]) == 5
    said = capsys.readouterr().err
    assert "without resizing the file does not answer as the network does" in said
    assert ".png" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("trouble", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 4)])
def test_e06_f19_export_that_is_stopped_while_it_writes_leaves_no_half_file(
    trouble: BaseException, code: int, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise trouble

    monkeypatch.setattr("saccade.use.export.as_pt2", lambda whole, metadata: b"x" * 1000)
    monkeypatch.setattr("saccade.use.export._try", lambda subject, runs, wish: None)
    monkeypatch.setattr("saccade.use.export._shares", lambda subject, answers: (None, None))
    monkeypatch.setattr("saccade.use.export._speeds", lambda subject, others: {})
    monkeypatch.setattr(
        "saccade.use.export.open_pt2", lambda data: Runs(lambda squares: squares, lambda pictures: pictures)
    )
    monkeypatch.setattr(Path, "write_bytes", half_written)
    path = tmp_path / "model.pt2"
    assert run_command_line(["export", str(finished.path), "--format", "pt2", "--output", str(path)]) == code
    assert list(tmp_path.iterdir()) == []


def test_export_without_the_runs_pictures_says_that_others_were_made_up(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _without_pictures(finished, tmp_path)
    assert run_command_line(["export", str(run.path), "--format", "pt2", "--json"]) == 0
    told = capsys.readouterr()
    assert "made up instead" in told.err
    about = json.loads(told.out)
    assert about["parity"]["real"] is False
    assert about["before"] is None


def test_int8_without_the_runs_pictures_is_refused(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int8 takes its ranges"):
        export_run(_without_pictures(finished, tmp_path), Wish("onnx", "int8", None), QuietScreen())


def _without_pictures(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "run")
    report = tmp_path / "run" / "data_report.json"
    values = json.loads(report.read_text())
    report.write_text(json.dumps(values | {"source": str(tmp_path / "gone")}))
    return RunFolder.open(tmp_path / "run")


@pytest.mark.parametrize(
    "flags", [["--half", "--int8"], ["--format", "pt2", "--int8"], ["--output", "/nowhere/x.onnx"]]
)
def test_flags_that_do_not_fit_are_a_usage_error(flags: list[str], finished: RunFolder) -> None:
    assert run_command_line(["export", str(finished.path), *flags]) == 2


def _changed(exported: Path, path: Path, **changes: object) -> Path:
    model = onnx.load(exported)
    metadata = {each.key: each.value for each in model.metadata_props}
    metadata[CARD_KEY] = json.dumps(json.loads(metadata[CARD_KEY]) | changes)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "has format 99"),
        ({"class_names": ["one", "two"]}, "does not answer for its 2 classes"),
        ({"class_names": "x"}, "class_names"),
        ({"image_size": 10**9}, "image_size"),
        ({"preparation": {}}, "how to prepare"),
        ({"certainty": {"temperature": "hot"}}, "how to prepare"),
    ],
)
def test_e14_onnx_file_with_a_changed_card_is_refused(
    changes: dict[str, object], message: str, exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        open_onnx(_changed(exported, tmp_path / "x.onnx", **changes))


def test_e14_preparation_that_cannot_be_is_refused(exported: Path, finished: RunFolder, tmp_path: Path) -> None:
    preparation = finished.load().preparation.to_json() | {"fit": "stretch"}
    with pytest.raises(ModelError, match="fit stretch"):
        open_onnx(_changed(exported, tmp_path / "x.onnx", preparation=preparation))


@pytest.mark.parametrize("content", [None, b"", b"no protobuf at all", b"\x80\x04K\x01."])
def test_onnx_file_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        open_onnx(path)
    assert caught.value.where == str(path)


def test_onnx_file_of_another_tool_is_refused(tmp_path: Path) -> None:
    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "g", shape[:1], shape[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="saccade did not write it"):
        open_onnx(tmp_path / "x.onnx")


def test_network_without_an_onnx_form_is_an_export_error() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.float().sum() > 0 else x[:, 0]

    whole = Whole(Odd(), Odd())
    with pytest.raises(ExportError, match="no ONNX form"):
        onnx_parts(whole, (3, 8, 8))
