"""Every way saccade says no: what went wrong, where, and what to do about it.

Each class knows the exit code of the command line and the HTTP status of the server, so that neither
has to know the others' errors. A user's mistake is always one of these and never shows a traceback.
"""

from __future__ import annotations

from errno import ENOMEM

# Memory ran out, in the words of torch's allocators on CPU, GPU and Apple's; of C++; of oneDNN, which says no more than
# that (seen under a limit of addresses: "could not create a primitive" for a convolution that has room with half as
# many pictures); of the system where it loads a library or begins a thread.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
    "failed to map segment from shared object",
    "can't start new thread",
)


def ran_out(error: BaseException) -> bool:
    """Whether an error that is none of saccade's says that memory ran out: that of a GPU, or the machine's own."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == ENOMEM):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError | ImportError) and any(sign in words for sign in _OUT_OF_MEMORY)


class SaccadeError(Exception):
    """The parent of all errors that saccade raises on purpose.

    Args:
        what: one sentence that names the thing, the rule and the value received.
        where: the path, row, field or archive member at fault, when there is one.
        remedy: what the reader can do now.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.remedy:
            parts.append(f"what to do: {self.remedy}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Workers send errors to the parent by pickling; keyword-only arguments need this to survive it.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[SaccadeError], state: dict[str, object]) -> SaccadeError:
    error = kind.__new__(kind, state["what"])
    error.__dict__.update(state)
    return error


class UsageError(SaccadeError):
    """The command or the call was asked for something that does not exist or does not fit together."""

    exit_code = 2
    http_status = 400


class RecipeError(UsageError):
    """A recipe has an unknown field, a value out of range, or fields that contradict each other."""


class DataError(SaccadeError):
    """The pictures, their labels or their layout cannot be used as they are."""

    exit_code = 3
    http_status = 422


class PictureError(DataError):
    """One picture cannot be decoded. `reason` is a stable code such as `truncated` (docs/formats.md lists them)."""

    def __init__(self, reason: str, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reason = reason


class LayoutError(DataError):
    """A folder or archive does not have one of the layouts that name the class of every picture."""


class LabelError(DataError):
    """Labels and classes do not fit together: too few classes, an empty one, or splits that disagree."""


class ArchiveError(DataError):
    """A zip or tar is damaged, encrypted, a bomb, or has entries that point outside it."""


class ArrayError(DataError):
    """An array file (npz, npy, idx, CIFAR) has a shape, type or value that cannot be pictures with labels."""


class TableError(DataError):
    """A table of pictures (csv, tsv, parquet) has an encoding, a column or a row that cannot be used."""


class ResourceError(SaccadeError):
    """The machine lacks something: disk space, memory, a device, a permission, the network."""

    exit_code = 4
    http_status = 503


class MissingExtraError(ResourceError):
    """An optional library is not installed; the remedy names the extra that brings it."""


class ModelError(SaccadeError):
    """A network, its weights or a run folder is invalid or does not fit."""

    exit_code = 5


class RunError(ModelError):
    """A run folder is missing, incomplete or written by a newer version."""


class WeightsError(ModelError):
    """A weights file is damaged, of an unsafe kind, or of another architecture."""


class ExportError(ModelError):
    """A network cannot be written in that form, or what was written does not answer as the network does."""


class DivergedError(ModelError):
    """Training left the finite numbers: the loss became infinite or not a number."""
