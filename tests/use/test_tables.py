"""Tables for the terminal: their numbers are those of the second source."""

from __future__ import annotations

from torchvision.models import ResNet50_Weights

from saccade.models.catalogue import CATALOGUE
from saccade.models.network import NetworkSpec
from saccade.models.published import published_sets
from saccade.models.summary import catalogue_rows, layer_table, outline
from saccade.use.tables import catalogue_in_words, layers_in_words, published_in_words


def test_published_weights_are_listed_with_accuracy_size_and_licence() -> None:
    printed = published_in_words(published_sets("resnet50"))
    for member in ResNet50_Weights:
        accuracy = member.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        line = next(line for line in printed.splitlines() if f"  {member.name} " in line)
        assert f"{accuracy} % top-1" in line
        assert f"{member.meta['_file_size']:.0f} MB" in line
    assert "non-commercial" in printed


def test_default_of_the_published_weights_is_marked() -> None:
    marked = [
        line for line in published_in_words(published_sets("resnet50")).splitlines() if "--weights default" in line
    ]
    assert len(marked) == 1
    assert ResNet50_Weights.DEFAULT.name in marked[0]


def test_network_without_published_weights_says_so() -> None:
    assert published_in_words(published_sets("lenet5")) == "published weights: none"


def test_catalogue_in_a_narrow_terminal_leaves_its_last_columns_out_and_says_so() -> None:
    rows = catalogue_rows("vgg*")
    lines = catalogue_in_words(rows, 80).splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["network", "parameters", "multiply-adds", "pictures", "year", "weights"]
    assert [line.split()[0] for line in table[1:]] == [name for name in CATALOGUE if name.startswith("vgg")]
    assert "idea and paper: in a wider terminal, or with --json" in lines
    assert catalogue_in_words(rows, 1000) == catalogue_in_words(rows)


def test_table_of_layers_leaves_the_kind_out_where_a_terminal_is_narrow_and_says_so() -> None:
    table = layer_table(outline(NetworkSpec("lenet5", 3, 32)))
    wide, narrow = layers_in_words(table), layers_in_words(table, 80)
    assert max(map(len, wide.splitlines())) > 80 >= max(map(len, narrow.splitlines()))
    assert "kind: in a wider terminal, or with --json" in narrow
    assert [line.split()[0] for line in wide.splitlines()[2:15]] == [
        line.split()[0] for line in narrow.splitlines()[2:15]
    ]
    assert "Conv2d" in wide
    assert "Conv2d" not in narrow
    assert layers_in_words(table, 200) == wide
