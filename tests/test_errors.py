"""Errors say what, where and what to do, and know their exit codes."""

from __future__ import annotations

import pickle

import pytest

from saccade import errors
from saccade.errors import PictureError, SaccadeError

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SaccadeError)]
EXIT_CODES = {
    "SaccadeError": 1,
    "UsageError": 2,
    "RecipeError": 2,
    "DataError": 3,
    "PictureError": 3,
    "LayoutError": 3,
    "LabelError": 3,
    "ArchiveError": 3,
    "ArrayError": 3,
    "TableError": 3,
    "ResourceError": 4,
    "MissingExtraError": 4,
    "ModelError": 5,
    "RunError": 5,
    "WeightsError": 5,
    "ExportError": 5,
    "DivergedError": 5,
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_exit_code_is_the_one_in_the_design(kind: type[SaccadeError]) -> None:
    assert kind.exit_code == EXIT_CODES[kind.__name__]


def test_error_in_words_names_what_where_and_remedy() -> None:
    error = SaccadeError("the picture is cut off", where="cats/1.jpg", remedy="copy it again")
    assert str(error).splitlines() == [
        "the picture is cut off",
        "where: cats/1.jpg",
        "what to do: copy it again",
    ]


def test_error_survives_the_way_out_of_a_worker() -> None:
    error = PictureError("truncated", "cut off", where="a.jpg", remedy="copy it again")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (type(back), vars(back), str(back)) == (PictureError, vars(error), str(error))
