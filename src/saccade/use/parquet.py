"""Parquet for prediction, through pyarrow (extra `parquet`): paths in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from saccade.data.cells import printable
from saccade.errors import MissingExtraError, TableError
from saccade.use.predict import Prediction

try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    pyarrow = None

_BATCH = 65_536
_GROUP = 8192  # rows that are written together


def need_parquet(path: Path) -> None:
    """Say before the work that it could not be written.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    if pyarrow is None:
        raise MissingExtraError(
            "a .parquet needs pyarrow, which is not installed",
            where=str(path),
            remedy='pip install "saccade[parquet]", or use .csv',
        )


def parquet_column(path: Path, choose: Callable[[Sequence[str]], int]) -> Iterator[str]:
    """One column as text, a batch of rows at a time; a null is "".

    Args:
        path: the file.
        choose: the names of the columns -> which one.

    Raises:
        MissingExtraError: pyarrow is not installed.
        TableError: the file is damaged, or the column is no text.
    """
    need_parquet(path)
    try:
        with parquet.ParquetFile(path) as file:
            header = file.schema_arrow.names
            name = header[choose(header)]
            for batch in file.iter_batches(_BATCH, columns=[name]):
                yield from (_text(value, path) for value in batch.column(name).to_pylist())
    except pyarrow.ArrowException as error:
        what = f"damaged_table: the file cannot be read ({str(error).splitlines()[0]})"
        raise TableError(what, where=str(path), remedy="fetch or save it again") from error


def write_parquet(path: Path, predictions: Iterator[Prediction], top: int) -> None:
    """A row per picture with the columns of the CSV; probabilities are float64, `sure` is true, false or null."""
    fields = [("path", pyarrow.string())]
    for rank in range(1, top + 1):
        fields += [(f"class_{rank}", pyarrow.string()), (f"probability_{rank}", pyarrow.float64())]
    fields += [("sure", pyarrow.bool_()), ("reason", pyarrow.string()), ("detail", pyarrow.string())]
    schema = pyarrow.schema(fields)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(predictions, _GROUP)):
            writer.write_table(pyarrow.Table.from_pylist([_record(one) for one in some], schema=schema))


def _record(prediction: Prediction) -> dict[str, object]:
    record: dict[str, object] = {"path": printable(prediction.name), "sure": prediction.sure}
    for rank, guess in enumerate(prediction.guesses, start=1):
        record |= {f"class_{rank}": guess.class_name, f"probability_{rank}": guess.probability}
    if prediction.reason:
        record |= {"sure": None, "reason": prediction.reason, "detail": printable(prediction.detail)}
    return record


def _text(value: object, path: Path) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise TableError(
        f"wrong_type: the column of paths holds {type(value).__name__}", where=str(path), remedy="save paths as text"
    )
