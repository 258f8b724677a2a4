"""Why a network says what it says, drawn for people: one explanation per picture, as heat, feature maps or filters."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from saccade.data.cells import printable
from saccade.errors import PictureError, UsageError
from saccade.trained import TrainedNetwork
from saccade.use.border import Border
from saccade.use.channels import draw_features, draw_filters
from saccade.use.heat import batch_size, feature_maps, first_filters
from saccade.use.heatmaps import HeatMap, Method, Question, as_batch, class_number, heat_maps
from saccade.use.onnx_file import OnnxNetwork
from saccade.use.predict import Picture, read_square
from saccade.use.sheets import Cell, Pixels, Sheet, draw, enlarged, png
from saccade.use.stage_maps import choose_stage
from saccade.whole import whole_file

LEGEND = ("no heat", "most heat in this picture")
# Said wherever somebody asks an exported file for more than it has.
NEEDS_RUN = "Grad-CAM, feature maps and filters need the run that the ONNX file was exported from"
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Explanation:
    """One drawn answer.

    Attributes:
        name: of the picture or the sheet.
        stem: what its file is named after.
        image: RGB (H, W, 3); None where the picture could not be read.
        about: what it shows, as plain values.
        reason: "" or the reason code why it could not be read.
        detail: the same in words.
    """

    name: str
    stem: str
    image: Pixels | None
    about: dict[str, object] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """As plain values, without the image."""
        trouble = {"reason": self.reason, "detail": printable(self.detail)} if self.reason else {}
        return {"name": printable(self.name), **self.about, **trouble}


class Explanations(Sequence[Explanation]):
    """Drawn answers, in the order of the pictures.

    Attributes:
        borders: what sheets found at the border of the pictures, a record per class.
        remarks: what else should be known, in sentences.
    """

    def __init__(
        self, found: Iterable[Explanation], borders: Iterable[Border] = (), remarks: Iterable[str] = ()
    ) -> None:
        self._all = tuple(found)
        self.borders = tuple(borders)
        self.remarks = tuple(remarks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for every class whose heat lies clearly at the border."""
        return tuple(border.in_words() for border in self.borders if border.clear)

    def save(self, folder: str | Path) -> list[Path | None]:
        """Write each image as a PNG into a folder, which is made; returns where, None for what could not be read."""
        return [path for _, path in saved(self._all, Path(folder))]

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Explanation:  # type: ignore[override]  # no slices: nobody needs them
        return self._all[index]

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(printable(text))}</p>" for text in (*self.remarks, *self.warnings))
        return said + "".join(_in_html(each) for each in self._all)


def method_for(trained: TrainedNetwork, asked: Method | None) -> Method:
    """The method that was asked for; without one Grad-CAM or, where there are no stages to look into, occlusion.

    Raises:
        UsageError: the network is in an ONNX file, and the method needs more than its answers.
    """
    if not isinstance(trained.network, OnnxNetwork):
        return asked or "gradcam"
    if asked not in (None, "occlusion"):
        remedy = "leave the method out or ask for occlusion, or explain that run"
        raise UsageError(f"an ONNX file gives heat by occlusion alone: {NEEDS_RUN}", where=asked or "", remedy=remedy)
    return "occlusion"


def explain(trained: TrainedNetwork, pictures: Iterable[Picture], question: Question) -> Iterator[Explanation]:
    """One drawn explanation per picture, in order; a picture that cannot be read gives its reason.

    Args:
        trained: on whatever device.
        pictures: paths, or uint8 arrays (H, W), (H, W, 1) or (H, W, 3). The method `filters` looks at none.
        question: what is asked.

    Raises:
        UsageError: there is no such class or stage, or the stage gives no map.
        ArrayError: an array is not a picture.
    """
    if question.method == "filters":
        filters = first_filters(trained.network)
        model = trained.network.spec.model
        image = draw_filters(filters.numpy(), model)
        yield Explanation(model, Path(model).name, image, {"method": "filters", "shape": list(filters.shape)})
        return
    if question.class_name is not None:
        class_number(trained, question.class_name)  # said before any picture is read
    named = ((f"picture {n}" if isinstance(one, np.ndarray) else str(one), one) for n, one in enumerate(pictures, 1))
    with ThreadPoolExecutor(max_workers=4) as pool:
        while chunk := list(islice(named, batch_size(trained.network))):
            read = list(pool.map(lambda pair: read_square(pair, trained), chunk))
            good = {
                name: square for (name, _), square in zip(chunk, read, strict=True) if isinstance(square, np.ndarray)
            }
            drawn = _drawn(trained, good, question) if good else {}
            for (name, _), square in zip(chunk, read, strict=True):
                if isinstance(square, PictureError):
                    yield Explanation(
                        name, Path(name).stem, None, {"method": question.method}, square.reason, square.what
                    )
                else:
                    yield drawn[name]


def heat_cell(found: HeatMap) -> Cell:
    """Heat over a picture, and what it is about."""
    remark = () if found.border_share is not None else ("no heat: nothing here speaks for it",)
    return Cell(found.over(), (f"{found.class_name} {found.probability:.1%}", *remark))


def saved(explanations: Iterable[Explanation], folder: Path) -> Iterator[tuple[Explanation, Path | None]]:
    """Write images as PNGs named after their pictures, one by one; what this call has written is not overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for each in explanations:
        place = None
        if each.image is not None:
            place = folder / _file_name(each, taken)
            with whole_file(place) as partial:
                partial.write_bytes(png(each.image))
        yield each, place


def _drawn(trained: TrainedNetwork, squares: dict[str, Pixels], question: Question) -> dict[str, Explanation]:
    """By name: the same path given twice is drawn once."""
    names, pictures = list(squares), list(squares.values())
    if question.method == "features":
        at = choose_stage(trained.network, question.stage)
        maps = feature_maps(trained.network, as_batch(trained.network, pictures), at).numpy()
        about: dict[str, object] = {"method": "features", "stage": at.stage, "shape": [at.channels, at.side, at.side]}
        return {
            name: Explanation(name, Path(name).stem, draw_features(pixels, one, Path(name).name, at.stage), about)
            for name, pixels, one in zip(names, pictures, maps, strict=True)
        }
    found = heat_maps(trained, pictures, question)
    return {name: _explained(name, heat, question) for name, heat in zip(names, found, strict=True)}


def _explained(name: str, found: HeatMap, question: Question) -> Explanation:
    how = "Grad-CAM" if question.method == "gradcam" else "Occlusion"
    remark = f"{how} for {found.class_name} ({found.source})"
    if found.class_name != found.predicted:
        remark += f"; the network says {found.predicted}"
    side = found.pixels.shape[0]
    seen = Cell(enlarged(found.pixels), (f"as the network sees it, {side}×{side}",))
    image = draw(Sheet(Path(name).name, remark, [[seen, heat_cell(found)]], 1, LEGEND))
    return Explanation(name, Path(name).stem, image, {"method": question.method, **found.to_json()})


def _file_name(each: Explanation, taken: set[str]) -> str:
    """`dog-gradcam.png`; letters that some file system or shell would trip over become `_`."""
    stem = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in printable(each.stem)).lstrip(".-")
    base = f"{stem[:_LONGEST_NAME] or 'picture'}-{each.about['method']}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return f"{name}.png"


def _in_html(each: Explanation) -> str:
    name = html.escape(printable(each.name))
    if each.image is None:
        return f"<p>{name}: {html.escape(printable(each.detail))}</p>"
    data = base64.b64encode(png(each.image)).decode("ascii")
    return f'<img alt="{name}" style="max-width: 100%" src="data:image/png;base64,{data}">'
