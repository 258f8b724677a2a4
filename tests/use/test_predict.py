"""Predictions: one per picture, the same by every way in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.api import Classifier
from saccade.api import load as load_classifier
from saccade.errors import ArrayError, UsageError
from saccade.runs import RunFolder
from saccade.use.inputs import expand


@pytest.fixture(scope="module")
def classifier(finished: RunFolder) -> Classifier:
    return load_classifier(finished.path, device="cpu")


def test_prediction_equals_softmax_of_an_independent_computation(
    classifier: Classifier, finished: RunFolder, colours: Path
) -> None:
    path = colours / "red" / "03.png"
    square = Image.open(path).resize((24, 24), Image.Resampling.BILINEAR)
    images = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float()
    large = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected = torch.softmax(finished.load().network(large), dim=1)[0]
    guesses = {guess.class_name: guess.probability for guess in classifier.predict(path)[0].guesses}
    assert [guesses[name] for name in classifier.class_names] == pytest.approx(expected.tolist(), abs=1e-6)


def test_path_and_array_give_the_same_answer(classifier: Classifier, colours: Path) -> None:
    path = colours / "blue" / "07.png"
    from_array = classifier.predict(np.asarray(Image.open(path)))[0]
    assert from_array.guesses == classifier.predict(path)[0].guesses


def test_picture_alone_and_in_a_batch_give_the_same_class(classifier: Classifier, colours: Path) -> None:
    together = classifier.predict(colours)
    alone = [classifier.predict(prediction.name)[0] for prediction in together]
    assert [one.class_name for one in alone] == [one.class_name for one in together]


def test_probabilities_of_all_classes_sum_to_one(classifier: Classifier, colours: Path) -> None:
    for prediction in classifier.predict(colours, top=3):
        assert sum(guess.probability for guess in prediction.guesses) == pytest.approx(1)


def test_guesses_come_best_first(classifier: Classifier, colours: Path) -> None:
    values = [guess.probability for guess in classifier.predict(colours / "red" / "00.png")[0].guesses]
    assert values == sorted(values, reverse=True)


def test_more_classes_asked_for_than_there_are_gives_all(classifier: Classifier, colours: Path) -> None:
    assert len(classifier.predict(colours / "red" / "00.png", top=99)[0].guesses) == 3


def test_prediction_is_printed_as_the_command_prints_it(classifier: Classifier, colours: Path) -> None:
    (found,) = classifier.predict(colours / "red" / "00.png", top=2)
    (first, second) = found.guesses
    guesses = f"{first.class_name} {first.probability:.1%}  {second.class_name} {second.probability:.1%}"
    assert str(found) == f"{found.name}  {guesses}"


def test_no_class_asked_for_is_a_usage_error(classifier: Classifier, colours: Path) -> None:
    with pytest.raises(UsageError, match="top=0"):
        classifier.predict(colours, top=0)


@pytest.mark.parametrize("shape", [(24, 24, 4), (3, 24, 24), (24,), (1, 24, 24, 3)])
def test_array_that_is_no_picture_is_refused_with_its_shape(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArrayError, match="a picture is uint8"):
        classifier.predict(np.zeros(shape, dtype=np.uint8))


def test_float_array_is_refused(classifier: Classifier) -> None:
    with pytest.raises(ArrayError, match="float64"):
        classifier.predict(np.zeros((24, 24, 3)))


def test_grey_picture_is_read_by_a_colour_network(classifier: Classifier) -> None:
    grey = np.full((24, 24), 90, dtype=np.uint8)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    assert classifier.predict(grey)[0].guesses == classifier.predict(colour)[0].guesses


def test_b11_name_that_is_not_utf8_is_opened_and_printed(classifier: Classifier, colours: Path, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes((colours / "red" / "00.png").read_bytes())
    found = classifier.predict(tmp_path)
    assert found[0].class_name == "red"
    assert "caf\\udce9.png" in repr(found)


def test_folder_is_walked_in_string_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.png", ".hidden/x.png", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(path).relative_to(tmp_path).as_posix() for path in expand([tmp_path])]
    assert found == ["a.png", "b/10.png", "b/2.png"]


def test_b10_file_whose_name_looks_like_a_glob_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cat[1].png").touch()
    assert list(expand([tmp_path / "cat[1].png"])) == [str(tmp_path / "cat[1].png")]


def test_hostile_names_are_escaped_in_html(classifier: Classifier, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    Image.new("RGB", (24, 24), "red").save(tmp_path / name, "PNG")
    assert "<img" not in classifier.predict(tmp_path)._repr_html_()
