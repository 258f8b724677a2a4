"""What torchvision publishes: the facts, the cache, the download, and being without a network. Nothing leaves here."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
import torch

from saccade.errors import ResourceError
from saccade.models.catalogue import CATALOGUE, build_network
from saccade.models.network import NetworkSpec
from saccade.models.published import PublishedWeights, fetch, imagenet_class_names, published_sets
from saccade.models.weights import initialise

IN_TORCHVISION = [name for name, entry in CATALOGUE.items() if entry.torchvision_name]
CONTENT = b"weights" * 1000
NOBODY_THERE = "http://127.0.0.1:1"  # refuses at once: no test waits for a timeout


def made_up(content: bytes, base: str = NOBODY_THERE) -> PublishedWeights:
    checksum = hashlib.sha256(content).hexdigest()[:8]
    return replace(published_sets("resnet18")[0], url=f"{base}/models/made-{checksum}.pth")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps what it downloads, for one test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "torch" / "hub" / "checkpoints"


class Server(NamedTuple):
    """A server on this machine: what it answers with, by path, and the paths that were asked for."""

    url: str
    answers: dict[str, tuple[int, bytes, int]]
    asked: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    answers: dict[str, tuple[int, bytes, int]] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, content, length = answers.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=lambda: http.serve_forever(poll_interval=0.01))
        thread.start()
        yield Server(f"http://127.0.0.1:{http.server_port}", answers, asked)
        http.shutdown()
        thread.join()


def serve(server: Server, content: bytes, *, sent: bytes | None = None) -> PublishedWeights:
    """A set whose file is `content`; `sent` is what the server gives instead."""
    published = made_up(content, server.url)
    body = content if sent is None else sent
    server.answers[f"/models/{published.file_name}"] = (200, body, len(content))
    return published


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


@pytest.mark.parametrize("model", IN_TORCHVISION)
def test_every_set_has_its_facts(model: str) -> None:
    sets = published_sets(model)
    assert sum(published.is_default for published in sets) == 1
    assert len({published.name for published in sets}) == len(sets)
    for published in sets:
        assert re.fullmatch(r"https://download\.pytorch\.org/models/[\w-]+-[0-9a-f]{8}\.pth", published.url)
        assert published.file_name.endswith(f"-{published.checksum}.pth")
        assert "BSD-3-Clause" in published.licence
        assert "non-commercial" in published.licence
        assert published.recipe.startswith("https://")
        assert published.file_megabytes > 1
        assert (published.top1 is None) == (not published.class_names)
        assert published.top1 is None or 50 < published.top1 < (published.top5 or 0) < 100
        assert published.image_size == CATALOGUE[model].image_size


@pytest.mark.parametrize("model", [name for name in IN_TORCHVISION if name not in {"googlenet", "inception_v3"}])
def test_published_parameters_are_the_catalogues(model: str) -> None:
    assert {published.num_parameters for published in published_sets(model)} == {CATALOGUE[model].parameters}


@pytest.mark.parametrize("model", ["lenet5", "resnet18_cifar", "timm/resnet18", "no such"])
def test_network_that_torchvision_does_not_have_has_no_sets(model: str) -> None:
    assert published_sets(model) == ()


def test_in_words_gives_accuracy_with_its_size() -> None:
    words = [published.in_words() for published in published_sets("resnet50")]
    assert words[1] == "torchvision's resnet50 IMAGENET1K_V2 (80.858 % top-1, 95.434 % top-5 at 224 pixels, 98 MB)"


def test_set_without_classifier_has_no_accuracy_and_other_pixels() -> None:
    published = next(p for p in published_sets("vgg16") if p.name == "IMAGENET1K_FEATURES")
    assert published.top1 is published.top5 is None
    assert published.in_words() == "torchvision's vgg16 IMAGENET1K_FEATURES (528 MB)"
    assert published.pixels.mean == pytest.approx((123, 117, 104), abs=0.01)
    assert published.pixels.std == pytest.approx((1, 1, 1))


def test_imagenet_class_names_are_a_thousand_different_ones() -> None:
    names = imagenet_class_names()
    assert len(set(names)) == len(names) == 1000
    assert names[0] == "tench"
    assert names[281] == "tabby"


def test_fetch_cached_file_asks_nobody(cache: Path) -> None:
    published = made_up(CONTENT)
    cache.mkdir(parents=True)
    (cache / published.file_name).write_bytes(CONTENT)
    assert fetch(published) == cache / published.file_name


def test_fetch_downloads_into_torchs_cache_silently(
    cache: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    published = serve(server, CONTENT)
    assert fetch(published).read_bytes() == CONTENT
    assert left_in(cache) == [published.file_name]
    assert capfd.readouterr() == ("", "")


def test_fetch_twice_downloads_once(server: Server) -> None:
    published = serve(server, CONTENT)
    fetch(published)
    fetch(published)
    assert len(server.asked) == 1


def test_fetch_damaged_file_in_the_cache_is_replaced(cache: Path, server: Server) -> None:
    published = serve(server, CONTENT)
    cache.mkdir(parents=True)
    (cache / published.file_name).write_bytes(CONTENT[:100])
    assert fetch(published).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"!", CONTENT[:500]], ids=["wrong", "cut off"])
def test_fetch_wrong_download_is_never_kept(cache: Path, server: Server, sent: bytes) -> None:
    with pytest.raises(ResourceError, match="could not be downloaded"):
        fetch(serve(server, CONTENT, sent=sent))
    assert left_in(cache) == []


def test_fetch_file_gone_from_the_server_is_a_resource_error(cache: Path, server: Server) -> None:
    with pytest.raises(ResourceError, match="404"):
        fetch(made_up(CONTENT, server.url))
    assert left_in(cache) == []


def test_fetch_offline_says_which_file_goes_where_at_once(cache: Path) -> None:
    published = made_up(CONTENT)
    began = time.monotonic()
    with pytest.raises(ResourceError) as caught:
        fetch(published)
    assert time.monotonic() - began < 5
    assert caught.value.exit_code == 4
    assert caught.value.where == published.url
    assert f"put the file {published.file_name} into the folder {cache}" in str(caught.value)
    assert "--weights none, or --weights FILE" in str(caught.value)
    assert left_in(cache) == []


def test_fetch_offline_with_a_damaged_file_says_so_and_keeps_it_unused(cache: Path) -> None:
    published = made_up(CONTENT)
    cache.mkdir(parents=True)
    (cache / published.file_name).write_bytes(b"")
    with pytest.raises(ResourceError, match="the file in the cache is damaged"):
        fetch(published)


def test_fetch_cache_that_cannot_be_made_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "torch").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="could not be downloaded"):
        fetch(made_up(CONTENT))


def test_fetch_leaves_the_processs_timeout_as_it_was(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []
    monkeypatch.setattr("saccade.models.published.socket.setdefaulttimeout", seen.append)
    fetch(serve(server, CONTENT))
    assert seen == [30.0, None]


@pytest.fixture
def publish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], PublishedWeights]:
    """Make torchvision publish random weights of a network, with the file in the cache already."""

    def make(model: str, num_classes: int) -> PublishedWeights:
        network = build_network(NetworkSpec(model, num_classes), seed=1)
        rename = CATALOGUE[model].torchvision_name
        assert rename
        state = network.state_dict()
        cache.mkdir(parents=True, exist_ok=True)
        torch.save({rename(model, n): v.half() for n, v in state.items() if "normalise" not in n}, cache / "new")
        published = made_up((cache / "new").read_bytes())
        (cache / "new").rename(cache / published.file_name)
        published = replace(published, model=model, pixels=published_sets(model)[0].pixels, is_default=True)
        monkeypatch.setattr("saccade.models.weights.published_sets", lambda name: (published,) * (name == model))
        return published

    return make


@pytest.mark.parametrize("weights", ["default", "IMAGENET1K_V1"])
def test_initialise_published_set_loads_all_and_says_the_licence(
    publish: Callable[[str, int], PublishedWeights], weights: str
) -> None:
    publish("googlenet", 5)
    network = build_network(NetworkSpec("googlenet", 5, 64))
    report = initialise(network, weights)
    assert not report.new_head
    assert report.source.startswith("torchvision's googlenet IMAGENET1K_V1 (69.758 % top-1")
    assert any("non-commercial" in line for line in report.in_words())
    assert network.normalise.mean.flatten().tolist() == [127.5] * 3


def test_initialise_published_file_named_by_its_path_keeps_its_pixels(
    publish: Callable[[str, int], PublishedWeights], cache: Path, tmp_path: Path
) -> None:
    published = publish("googlenet", 5)
    path = (cache / published.file_name).rename(tmp_path / published.file_name)
    network = build_network(NetworkSpec("googlenet", 3, 64))
    report = initialise(network, str(path))
    assert report.new_head
    assert report.source == published.in_words()
    assert network.normalise.mean.flatten().tolist() == [127.5] * 3


def test_initialise_offline_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "saccade.models.weights.published_sets", lambda model: (replace(made_up(b""), is_default=True),)
    )
    with pytest.raises(ResourceError, match=r"put the file made-e3b0c442\.pth into the folder"):
        initialise(build_network(NetworkSpec("resnet18", 3, 64)), "default")
