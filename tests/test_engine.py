"""Devices and promises."""

from __future__ import annotations

import pytest
import torch

from saccade.engine import choose_device, describe_device, make_deterministic, num_cores
from saccade.errors import ResourceError


def test_e18_auto_takes_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "cpu:x"])
def test_e18_device_by_name_that_is_not_there_exits_with_4(name: str) -> None:
    with pytest.raises(ResourceError) as caught:
        choose_device(name)
    assert caught.value.exit_code == 4


def test_description_of_the_cpu_names_its_cores() -> None:
    assert describe_device(torch.device("cpu")).startswith(f"cpu, {num_cores()} core")


def test_deterministic_refuses_what_can_vary() -> None:
    make_deterministic(True)
    assert torch.are_deterministic_algorithms_enabled()
    make_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_there_is_at_least_one_core() -> None:
    assert num_cores() >= 1
