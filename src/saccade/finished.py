"""A finished training: what can be asked of it, a call each."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from saccade.classifier import Classifier
from saccade.data.packing import Work
from saccade.data.sources.given import Given, placed
from saccade.engine import choose_device, num_cores
from saccade.evaluation.evidence import Evidence, Way, judge_run
from saccade.recipe import Looks
from saccade.runs import RunFolder
from saccade.screen import QuietScreen, RichScreen, Screen
from saccade.use.evidence_figures import write_curves, write_figures
from saccade.use.explain import Explanations
from saccade.use.explain_run import explain_classes, explain_mistakes, own_pictures
from saccade.use.export import Format, Wish, export_run
from saccade.use.exported import Exported
from saccade.use.heatmaps import Method, Question
from saccade.use.onnx_file import PrecisionName
from saccade.use.report import write_report


class Run:
    """A finished training."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: accuracy, interval and more for val and test; seconds by stage."""
        return self.folder.metrics

    @property
    def results(self) -> list[dict[str, float]]:
        """A record per epoch."""
        return self.folder.results

    def evaluate(
        self,
        pictures: str | Path | Given | None = None,
        *,
        min_accuracy: float | None = None,
        tta: Looks = "none",
        device: str = "auto",
    ) -> Evidence:
        """Judge the best weights on the run's own test pictures, or on others.

        Args:
            pictures: as for `train`, with classes that the run knows; None for its own test pictures.
            min_accuracy: that answers should have, or the network is "not sure"; None as it was trained with.
            tta: how often to look at a picture: none (once), flip (and at its mirror), shifts (six times).
            device: auto, cpu, cuda, mps.

        Raises:
            DataError: the run's own pictures are no longer where they were.
            LabelError: the pictures show a class the network does not know.
        """
        chosen = None if pictures is None else placed(pictures)
        work = Work(num_cores(), strict=False, progress=lambda done, total: None)
        return judge_run(self.folder, chosen, choose_device(device), work, Way(min_accuracy, tta))

    def classifier(self, *, device: str = "auto") -> Classifier:
        """Ready for new pictures."""
        return Classifier(self.folder.load(), device)

    def explain(
        self,
        *,
        mistakes: int = 0,
        per_class: int = 8,
        method: Method = "gradcam",
        stage: str | None = None,
        device: str = "auto",
    ) -> Explanations:
        """Heat maps of the run's own test pictures: a sheet per class, or the most confident mistakes.

        Args:
            mistakes: how many of them; 0 for the sheets.
            per_class: pictures on a sheet.
            method: gradcam or occlusion.
            stage: for gradcam; None for the deepest whose map has at least 5 × 5 places.
            device: auto, cpu, cuda, mps.

        Returns:
            Sheets; `warnings` names the classes whose heat lies clearly at the border, `save(folder)` writes PNGs.

        Raises:
            DataError: the run's pictures are no longer where they were.
            UsageError: the method gives no heat, or there is no such stage.
        """
        trained, question = self.folder.load(), Question(method, stage)
        trained.network.to(choose_device(device))
        own = own_pictures(self.folder, trained)
        if mistakes:
            return explain_mistakes(own, mistakes, question)
        return explain_classes(own, per_class, question, lambda done, total: None)

    def export(
        self,
        output: str | Path | None = None,
        *,
        format: Format = "onnx",  # noqa: A002 - what the flag is called
        precision: PrecisionName = "float32",
        quiet: bool = False,
    ) -> Exported:
        """Write the network as one file that takes pictures as they are, and prove that it answers as this run does.

        Args:
            output: the file; None for model.onnx in the run folder.
            format: onnx, or pt2 (torch.export).
            precision: float32, float16 or int8 (onnx alone) for weights and sums.
            quiet: say nothing.

        Returns:
            Its path, and what came of trying it on the run's test pictures.

        Raises:
            ExportError: the network has no such form, or the file does not answer as it does; nothing is written.
            MissingExtraError: a library of `saccade[export]` is not installed.
        """
        screen: Screen = QuietScreen() if quiet else RichScreen()
        return export_run(self.folder, Wish(format, precision, None if output is None else Path(output)), screen)

    def figures(self, folder: str | Path, *, device: str = "auto") -> list[Path]:
        """Draw loss, accuracy, confusion matrix, reliability, coverage, ROC and precision-recall curves as SVG.

        Args:
            folder: where; it is made, and files of these names in it are replaced.
            device: auto, cpu, cuda, mps.

        Returns:
            Where they lie.

        Raises:
            DataError: the run's test pictures are no longer where they were.
            ResourceError: the folder cannot be made or written.
        """
        return [*write_curves(self.folder, Path(folder)), *write_figures(self.evaluate(device=device), Path(folder))]

    def report(self) -> Path:
        """Write report.html anew; returns where it lies."""
        return write_report(self.folder)

    def __repr__(self) -> str:
        return f"Run({self.path})"

    def _repr_html_(self) -> str:
        test = self.metrics.get("test")
        if test is None:
            return f"<b>{escape(str(self.path))}</b>: not finished"
        low, high = test["interval"]
        return (
            f"<b>{escape(str(self.path))}</b>: {test['accuracy']:.1%} of {test['num_pictures']:,} test pictures right "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
