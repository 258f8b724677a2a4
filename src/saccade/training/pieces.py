"""In how many pieces a batch goes through the network: as the recipe has it, and in more when memory has run out."""

from __future__ import annotations

from saccade.engine import give_memory_back, leave_onednn_if_stuck
from saccade.training.memory import WITHOUT_ONEDNN, too_little
from saccade.training.progress import Keeper, Training


def piece_size(training: Training, batch_size: int) -> int:
    """Pictures that go through the network at once, at most; 0: a whole batch."""
    pieces = training.progress.pieces
    return -(-batch_size // pieces) if pieces > 1 else 0


def take_smaller(training: Training, batch_size: int, keeper: Keeper, error: BaseException) -> None:
    """Memory ran out in a step that will be made again: from here on in twice as many pieces. Said, and kept at once.

    Args:
        training: as it was before the step.
        batch_size: of the recipe.
        keeper: told, and asked to keep the state.
        error: how torch said so.

    Raises:
        ResourceError: a piece was a single picture already.
    """
    progress = training.progress
    training.optimizer.zero_grad(set_to_none=True)
    give_memory_back(training.device)
    left_onednn = leave_onednn_if_stuck(error)
    if progress.pieces >= batch_size and not left_onednn:
        raise too_little(f"epoch {progress.epoch}, batch {progress.batch + 1}", error)
    progress.pieces = min(2 * progress.pieces, batch_size)
    if left_onednn:
        keeper.say(f"{WITHOUT_ONEDNN} (to have it back: end this run and go on with --resume)")
    at_once = piece_size(training, batch_size)
    keeper.say(
        f"epoch {progress.epoch}, batch {progress.batch + 1}: memory ran out. From here on {at_once} "
        f"{'pictures go' if at_once > 1 else 'picture goes'} through the network at once, and the gradients are added "
        f"up: a step still has {batch_size} (to begin so: --accumulate {progress.pieces})"
    )
    keeper.keep_now(training)
