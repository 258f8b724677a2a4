"""The part of a run in which something is learnt: the head where it can be solved, then epochs."""

from __future__ import annotations

from typing import NamedTuple

from saccade.data.augment import OwnChange
from saccade.engine import threads_for
from saccade.errors import DivergedError, RecipeError, UsageError
from saccade.headstart import head_first
from saccade.keeping import Pixels, Way
from saccade.models.summary import layer_table
from saccade.pictures import Pictures
from saccade.recipe import Recipe
from saccade.resuming import Begun, about_pictures
from saccade.safekeeping import RunWriter, about_run, check_space, make_keeper
from saccade.screen import Screen
from saccade.speed import in_best_mode
from saccade.trained import TrainedNetwork
from saccade.training.callbacks import Callback, EarlyStopping, KeepWeights, Log, Show
from saccade.training.distributed import leads
from saccade.training.find_rate import NUM_UPDATES, Trial, sweep
from saccade.training.loop import Beside, fit
from saccade.training.progress import Keeper
from saccade.training.shapes import OwnShape, Steps, shape_of
from saccade.training.sources import Parts
from saccade.training.tensorboard import TensorBoard, tensorboard_library


class Own(NamedTuple):
    """What a caller brings along from Python, which no recipe can hold.

    Attributes:
        augment_with: changes training batches, after the recipe's own augmentation.
        schedule: epochs done so far -> share of the highest rate; for a recipe whose schedule is `own`.
        callbacks: asked after every update and every epoch, behind saccade's own.
    """

    augment_with: OwnChange | None = None
    schedule: OwnShape | None = None
    callbacks: tuple[Callback, ...] = ()


class Lesson(NamedTuple):
    """Which run learns from which pictures, and what its caller brought along."""

    begun: Begun
    shown: Pictures
    own: Own


def check_recipe(recipe: Recipe, own: Own) -> None:
    """Refuse before any work is done what could not be learnt with.

    Raises:
        RecipeError: fields contradict each other, or the schedule cannot be read.
        MissingExtraError: TensorBoard was asked for and is not installed.
    """
    if recipe.schedule in ("step", "own"):
        shape_of(recipe, Steps(recipe.epochs, 1), own.schedule)
    if recipe.class_weights != "none" and recipe.sampling != "plain":
        raise RecipeError(
            "rare classes would count twice: they are shown more often, and each time with a higher weight",
            where=f"class_weights {recipe.class_weights}, sampling {recipe.sampling}",
            remedy="use --class-weights balanced or --sampling balanced, not both",
        )
    if recipe.accumulate > recipe.batch_size:
        raise RecipeError(
            f"a batch of {recipe.batch_size} cannot go through the network in {recipe.accumulate} pieces",
            where=f"accumulate {recipe.accumulate}",
            remedy="--batch-size is the number of pictures per update, --accumulate that of pieces it is taken in",
        )
    if recipe.tensorboard:
        tensorboard_library()


def try_rates(way: Way, recipe: Recipe, screen: Screen) -> list[Trial]:
    """What the losses are at rising learning rates, behind a head that is solved where the recipe solves it.

    Raises:
        UsageError: no epochs follow the solved head.
        DivergedError: the very first loss is no finite number.
    """
    if recipe.solve_head and head_first(way, recipe, (), screen) and recipe.train == "head":
        raise UsageError(
            "this recipe solves its head and trains nothing by epochs: it has no learning rate",
            where=f"recipe {recipe.recipe}",
            remedy="--no-solve-head trains the head by epochs; --recipe finetune trains more than the head",
        )
    with screen.bar("learning rates", NUM_UPDATES) as bar:
        trials = sweep(way.learner, way.train, recipe, lambda done: bar(done, ""))
    if not trials:
        raise DivergedError(
            "the loss is no finite number before anything was learnt",
            where=f"{recipe.model}, weights {recipe.weights}",
            remedy="other weights, or --precision float32",
        )
    return trials


def learn(way: Way, pixels: Pixels, lesson: Lesson, screen: Screen) -> Keeper | None:
    """The head where it can be solved, then epochs: headstart.py, training/loop.py.

    Returns:
        What kept the state of the epochs; None where there were none.

    Raises:
        ResourceError: disk or memory do not suffice.
        MissingExtraError: TensorBoard was asked for and is not installed.
        DivergedError: the loss left the finite numbers, twice.
    """
    begun, shown, own = lesson
    recipe = begun.recipe
    check_space(begun.run, way.network, recipe, screen)
    trained = TrainedNetwork(way.network, shown.pack.class_names, shown.pack.preparation)
    writer = RunWriter(begun.run, trained, screen)
    kept = KeepWeights(writer.save, recipe.best_by or "val_accuracy", last_is_best=not shown.is_watched)
    callbacks: list[Callback] = [Log(writer.append), kept]
    extra = [TensorBoard(begun.run.tensorboard_path)] if recipe.tensorboard else []
    with threads_for(round(recipe.batch_size * layer_table(way.network).multiply_adds * way.share / recipe.accumulate)):
        is_new = begun.checkpoint is None
        if is_new and recipe.solve_head and head_first(way, recipe, callbacks, screen) and recipe.train == "head":
            writer.finish()
            return None
        with screen.bar("training", recipe.epochs * way.train.num_pictures) as bar:
            callbacks.append(Show(screen.say, bar, recipe.epochs))
            if recipe.patience:
                callbacks.append(EarlyStopping(recipe.patience, recipe.best_by or "val_loss"))
            way = in_best_mode(way, recipe, begun, screen)
            about = about_run(recipe, about_pictures(shown.pack, shown.rows, shown.parts), way)
            keeper = make_keeper(begun, writer, pixels.train, shown.pack, about)
            others = [*extra, *own.callbacks] if leads() else []  # what they wish, the leader passes on
            _fit(way, recipe, Beside([*callbacks, *others], keeper, own.schedule))
    writer.finish()
    return keeper


def _fit(way: Way, recipe: Recipe, beside: Beside) -> None:
    try:
        fit(way.learner, Parts(way.train, way.val), recipe, beside)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RecipeError(
            "BatchNorm cannot learn from one picture at a time where a stage leaves a single position of it",
            where=f"batch_size {recipe.batch_size}, accumulate {recipe.accumulate}, image_size {recipe.image_size}",
            remedy="use --batch-size 2 or more, fewer pieces, or a larger --image-size",
        ) from None
