"""From a recipe and its pictures to a network with its first weights, and to the batches it will see."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from saccade.data.augment import OwnChange, augmentation_of, enlarge
from saccade.data.batches import Batches, resident_images
from saccade.data.listing import TEST, TRAIN, VAL
from saccade.data.mixing import mixing_of
from saccade.data.statistics import pixel_statistics
from saccade.engine import describe_device
from saccade.growing import check_early_sides, early_sides, early_sides_in_words
from saccade.keeping import Pixels
from saccade.models.catalogue import build_network
from saccade.models.network import Network, NetworkSpec, side_of
from saccade.models.published import fetching
from saccade.models.weights import initialise
from saccade.pictures import Pictures
from saccade.recipe import Recipe
from saccade.resuming import Begun
from saccade.screen import Screen
from saccade.trained import TrainedNetwork
from saccade.training.distributed import leads, share_state
from saccade.training.gpus import check_batch_norm, synchronised
from saccade.training.penalty import choose_penalties
from saccade.training.resume import load_network_state


def make_network(recipe: Recipe, shown: Pictures, device: torch.device, begun: Begun | None, screen: Screen) -> Network:
    """First weights, or those of a checkpoint: models/catalogue.py, models/weights.py."""
    pack = shown.pack
    spec = NetworkSpec(recipe.model, len(pack.class_names), recipe.image_size, pack.preparation.channels, recipe.head)
    check_batch_norm(recipe, device)
    network = build_network(spec, recipe.seed)
    if leads():
        _set_weights(network, recipe, shown, begun, screen)
    network.l2 = {**network.l2, **choose_penalties(network, recipe.l2)}
    check_early_sides(network, recipe)
    if words := early_sides_in_words(recipe):
        screen.say(words)
    screen.say(f"pictures of {recipe.image_size}×{recipe.image_size} pixels on {describe_device(device)}")
    # Weights in the order of memory in which convolutions are fastest: VGG16's last one learns 1.8 times as fast.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    share_state(network)
    return synchronised(network, recipe)


def _set_weights(network: Network, recipe: Recipe, shown: Pictures, begun: Begun | None, screen: Screen) -> None:
    if begun is not None and begun.checkpoint is not None:
        load_network_state(network, begun.checkpoint)
    elif recipe.weights == "none":
        network.normalise.set(*pixel_statistics(shown.pack.images, shown.of(TRAIN)))
        network.prepare_from(partial(_sample, shown, side_of(network.spec)))
    else:
        if words := fetching(recipe.model, recipe.weights):
            screen.say(words)
        for line in initialise(network, recipe.weights).in_words():
            screen.say(line)


def _sample(shown: Pictures, side: int, num: int) -> Tensor:
    """At most so many training pictures, evenly spaced, as the network sees them: uint8 (N, C, side, side)."""
    rows = shown.of(TRAIN)
    chosen = shown.pack.images[rows[:: -(-len(rows) // num)]]
    return enlarge(torch.from_numpy(chosen).permute(0, 3, 1, 2), side)


def best_network(network: Network, begun: Begun, shown: Pictures) -> TrainedNetwork:
    """The best weights of a run, on the device of the network that was trained, in every process."""
    if leads():
        best = begun.run.load("best")
    else:
        best = TrainedNetwork(copy.deepcopy(network), shown.pack.class_names, shown.pack.preparation)
    best.network.to(network.normalise.mean.device)
    share_state(best.network)
    return best


def make_pixels(network: Network, recipe: Recipe, shown: Pictures, own: OwnChange | None) -> Pixels:
    """The three parts, batch by batch: data/batches.py and data/augment.py."""
    augmentation, mixing = augmentation_of(recipe, own), mixing_of(recipe)
    pack = shown.pack
    device = network.normalise.mean.device
    resident = resident_images(pack.images, device)
    num_classes, balanced = len(pack.class_names), recipe.sampling == "balanced"
    how = (recipe.batch_size, side_of(network.spec), device, recipe.seed)
    return Pixels(
        train=Batches(
            pack.images,
            pack.labels,
            shown.of(TRAIN),
            *how,
            augmentation,
            recipe.views,
            mixing,
            resident,
            num_classes,
            balanced,
            early_sides(recipe),
        ),
        val=Batches(pack.images, pack.labels, shown.of(VAL), *how, resident=resident),
        test=Batches(pack.images, pack.labels, shown.of(TEST), *how, resident=resident),
        fingerprint=pack.fingerprint,
    )
