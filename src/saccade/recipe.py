"""Recipe: everything a run was asked to do, in one frozen record; presets.py has those with a name.

The command line reads its flags from these fields, YAML files are read into them, and every run folder
keeps the fully resolved recipe, so the three never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Augment = Literal["none", "light", "standard", "strong"]
Fit = Literal["squash", "crop", "pad"]
Policy = Literal["none", "randaugment", "trivial"]
Precision = Literal["auto", "float32", "tf32", "bfloat16"]
MemoryLayout = Literal["auto", "channels_last", "contiguous"]
Compile = Literal["auto", "on", "off"]
Schedule = Literal["onecycle", "cosine", "step", "triangle", "plateau", "constant", "own"]
Balance = Literal["none", "balanced"]
Sampling = Literal["plain", "balanced"]
Metric = Literal["val_loss", "val_accuracy"]
Looks = Literal["none", "flip", "shifts"]

AUTO = "auto"  # as the network's name: network_choice.py chooses

# How far each strength goes: flip probability, shift (share of the side), rotation (degrees), zoom (share), colours
# (shares), probability of erasing. "light" is safe for pictures whose left and right differ, such as digits and text.
_STILL = {"flip": 0.0, "shift": 0.0, "rotation": 0.0, "zoom": 0.0}
_TRUE_COLOURS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "erasing": 0.0}
STRENGTHS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "none": _STILL | _TRUE_COLOURS,
        "light": _STILL | _TRUE_COLOURS | {"shift": 0.04},
        "standard": {"flip": 0.5, "shift": 0.1, "rotation": 15.0, "zoom": 0.1}
        | {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.0, "erasing": 0.0},
        "strong": {"flip": 0.5, "shift": 0.2, "rotation": 30.0, "zoom": 0.2}
        | {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.03, "erasing": 0.25},
    }
)

# Highest learning rate and weight decay of each optimizer, where the recipe names none.
OPTIMIZER_DEFAULTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"adamw": (1e-3, 1e-2), "adam": (1e-3, 0.0), "sgd": (5e-2, 5e-4), "rmsprop": (1e-3, 0.0), "muon": (0.2, 0.0)}
)


class Recipe(BaseModel):
    """All that a run was asked to do. Fields that are None are filled in by `resolved`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    recipe: str = Field("scratch", description="the preset this began as")
    model: str = Field(
        AUTO, description="a network of the catalogue, `saccade models` lists them; auto: by the size of the pictures"
    )
    weights: str = Field(
        "none", description="start from: none (random), default (published), a published set's NAME, or a FILE"
    )
    train: str = Field(
        "all",
        min_length=1,
        description="what learns: all, head, last (stages), last-2, or stages such as block5_conv3 or layer4",
    )
    solve_head: bool = Field(
        False, description="first solve a linear head on the frozen features, as the convex problem it is"
    )
    batch_norm: Literal["learn", "keep"] = Field(
        "learn", description="keep: BatchNorm of learning stages keeps the statistics of the pretrained weights"
    )
    head: str | None = Field(None, description="gap, flatten, 128,64,32, gap:512:sigmoid; default: the family's own")
    image_size: int | None = Field(None, ge=8, le=4096, description="side of the square the network sees, in pixels")
    fit: Fit = Field("squash", description="how a picture becomes square: squash cuts nothing away")

    augment: Augment = Field("light", description="random changes while training: none, light, standard, strong")
    flip: float | None = Field(None, ge=0, le=1, description="probability of mirroring left and right")
    flip_turns: bool = Field(False, description="with flip 0.5: a picture is mirrored in every second epoch exactly")
    shift: float | None = Field(None, ge=0, lt=1, description="largest shift, as a share of width and height")
    whole_pixels: bool = Field(False, description="shift by whole pixels, so that nothing is blurred")
    rotation: float | None = Field(None, ge=0, le=180, description="largest turn either way, in degrees")
    zoom: float | None = Field(None, ge=0, lt=1, description="0.2 enlarges or reduces by up to a fifth")
    fill: Literal["nearest", "constant"] = Field("nearest", description="what a shift or turn lets in at the edge")
    fill_value: float = Field(0.0, ge=0, le=255, description="the grey level of --fill constant, 0 to 255")

    brightness: float | None = Field(None, ge=0, lt=1, description="0.2 multiplies all pixels by 0.8 to 1.2")
    contrast: float | None = Field(None, ge=0, lt=1, description="0.2: distances from the mean grey times 0.8 to 1.2")
    saturation: float | None = Field(None, ge=0, le=1, description="0.2: colours 0.8 to 1.2 times as strong")
    hue: float | None = Field(None, ge=0, le=0.5, description="largest turn of the hues, as a share of their circle")
    pca_colour: float = Field(0.0, ge=0, le=1, description="deviation of AlexNet's random light; theirs was 0.1")
    erasing: float | None = Field(None, ge=0, le=1, description="probability of covering a rectangle with one colour")
    policy: Policy = Field("none", description="torchvision's randaugment or trivial, drawn for each picture")
    mixup: float = Field(0.0, ge=0, le=10, description="blend pictures and labels in pairs; usual: 0.2; 0: not at all")
    cutmix: float = Field(0.0, ge=0, le=10, description="paste a part of another picture; usual: 1; 0: not at all")

    views: int = Field(
        0,
        ge=0,
        le=1000,
        description="fixed random views per picture, kept and cycled through; 0: fresh ones each epoch",
    )

    small_first: str | None = Field(
        None, min_length=1, description="sides of the pictures in the first epochs, such as 20,20,24; then image_size"
    )
    epochs: int = Field(20, ge=1, le=100_000, description="how often every training picture is seen")
    batch_size: int = Field(64, ge=1, le=65_536, description="pictures per update")
    accumulate: int = Field(
        1, ge=1, le=65_536, description="pieces in which a batch goes through the network, where memory is short"
    )
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] = Field(
        "adamw", description="how weights are updated; muon: convolutions followed by BatchNorm, the rest by sgd"
    )
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="highest rate; default: by optimizer and network"
    )
    depth_rate: float = Field(
        1.0, gt=0, le=1, description="the first stage's rate as a share of the head's; between them it falls evenly"
    )
    bias_rate: float = Field(
        1.0, gt=0, le=10_000, description="rate of the stages' biases and norms as a multiple of the other weights'"
    )
    head_rate: float = Field(1.0, gt=0, le=10_000, description="rate of the head as a multiple of the stages'")
    weight_decay: float | None = Field(None, ge=0, le=1, description="pull towards zero; default: by optimizer")
    momentum: float = Field(0.9, ge=0, lt=1, description="for sgd and muon (Nesterov) and rmsprop")
    schedule: Schedule = Field(
        "onecycle",
        description="how the rate changes: onecycle, cosine, step, triangle, constant, or plateau: ×0.2 after 5 epochs "
        "without a better val loss; own: a function, from Python only",
    )
    warmup: float | None = Field(
        None,
        ge=0,
        le=100_000,
        description="epochs in which the rate rises; default: a fifth of onecycle and triangle, else none",
    )
    step_epochs: str | None = Field(
        None, min_length=1, description="when schedule step falls: after epochs 30,60 or every-30; default: each third"
    )
    step_factor: float = Field(0.1, gt=0, lt=1, description="what schedule step multiplies the rate by")
    clip_norm: float = Field(0.0, ge=0, description="longest gradient, of all weights together; 0: as it is")
    ema: float = Field(
        0.0, ge=0, lt=1, description="judge and keep a moving average of the weights; usual: 0.999; 0: not at all"
    )
    l2: str | None = Field(
        None, min_length=1, description="pull of single stages or layers of the head: block3=1e-4,fc1=1e-3"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of certainty taken from the label")
    class_weights: Balance = Field("none", description="balanced: in the loss every class counts the same")
    sampling: Sampling = Field(
        "plain", description="balanced: an epoch shows every class equally often, rare pictures again and again"
    )
    best_by: Metric | None = Field(
        None,
        description="val_loss or val_accuracy, for best weights, patience and plateau; default: accuracy for the "
        "weights, loss for the others",
    )
    tta: Looks = Field(
        "none", description="judge also by several looks at a picture: flip, its mirror too; shifts, and a pixel aside"
    )
    min_accuracy: float = Field(
        0.0, ge=0, lt=1, description='predict says "not sure" where its answers are right less often; 0: never'
    )
    patience: int | None = Field(
        None, ge=0, description="stop after so many epochs without a better val loss; 0 never; default: by schedule"
    )
    tensorboard: bool = Field(False, description="write tb/ into the run folder, for TensorBoard")

    val_share: float = Field(
        0.2,
        ge=0,
        lt=0.9,
        description="share set aside to watch training, where none is given; 0: some it learns from watch",
    )
    test_share: float = Field(0.2, gt=0, lt=0.9, description="share set aside for the end, where none is given")
    split_seed: int | None = Field(
        None, ge=0, le=2**32 - 1, description="decides who learns, watches and judges; default: as --seed"
    )
    folds: int = Field(
        0, ge=0, le=1000, description="cross-validation: cut all pictures into so many parts; 0: not at all"
    )
    fold: int = Field(1, ge=1, le=1000, description="with --folds: the part that judges, from 1")
    fraction: float = Field(
        1.0, gt=0, le=1, description="learn from this share of the training pictures only; for a learning curve"
    )
    group_by: str | None = Field(
        None,
        min_length=1,
        description=r"keep a group's pictures in one part: a table's column, or an expression such as 'patient(\d+)'",
    )
    drop_leaks: bool = Field(
        False, description="where parts were given: leave pictures out of train that val or test show too"
    )
    max_bad: float = Field(0.05, ge=0, le=1, description="stop when a larger share of the pictures is broken")
    strict: bool = Field(False, description="stop at the first broken picture")
    data_dir: str | None = Field(
        None, description="folder with the files of mnist, fashion-mnist, cifar10, cifar100; default: downloaded"
    )
    allow_empty_class: bool = Field(False, description="keep a class folder without pictures as a class")
    max_pixels: int = Field(100_000_000, ge=64, description="refuse pictures with more pixels than this")
    reduce_large: bool = Field(False, description="reduce JPEGs above --max-pixels while decoding instead")

    prefix_cache: bool = Field(True, description="compute frozen stages once per picture and view, not every epoch")
    cache_budget: float = Field(8.0, gt=0, description="GiB that all kept features may have on disk and in memory")
    sync_batch_norm: bool = Field(
        False, description="several processes (torchrun) on GPUs: BatchNorm over the pictures of all, not of each"
    )
    precision: Precision = Field(
        "auto", description="layers compute in float32, bfloat16, tf32 (NVIDIA), or auto: the fastest safe, by timing"
    )
    layout: MemoryLayout = Field("auto", description="pictures in memory: channels_last, contiguous, or auto: timed")
    compile: Compile = Field("auto", description="torch.compile: on, off, auto: timed where a run takes hours")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="save the state so often within epochs too; --resume goes on from it"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    workers: int | None = Field(None, ge=1, le=1024, description="processes that decode; default: all cores")
    stream: bool = Field(
        False, description="decode pictures whenever they are needed instead of once: for a disk too small for the pack"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the split, the weights, the order, the augmentation")
    deterministic: bool = Field(True, description="refuse operations whose result can vary between runs")

    def resolved(self) -> Recipe:
        """The same recipe with every default that depends on another field written out."""
        rate, decay = OPTIMIZER_DEFAULTS[self.optimizer]
        # onecycle and cosine promise their best at the end of the cycle, so stopping within it would be a mistake.
        patience = 10 if self.schedule in ("plateau", "constant") else 0
        defaults = {
            **STRENGTHS[self.augment],
            "split_seed": self.seed,
            "learning_rate": rate,
            "weight_decay": decay,
            "patience": patience,
        }
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})

    def to_yaml(self) -> str:
        """The recipe as YAML, fields in their order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def known(value: T | None) -> T:
    """A field that is filled in by the time it is needed; ValueError where the recipe was not resolved."""
    if value is None:
        raise ValueError("the recipe is not resolved")
    return value
