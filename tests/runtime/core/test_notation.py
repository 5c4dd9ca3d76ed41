"""The notation: Table S1 goes in and comes out unchanged, and errors point at the character."""

from __future__ import annotations

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.model.notation import NotationError, name_layers, parse_notation

TABLE_S1 = {
    "{c128k3s1-BN-PLIF-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10": (1, 28, 28),
    "{{c256k3s1-BN-PLIF}*3-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10": (3, 32, 32),
    "{c128k3s1-BN-PLIF-MPk2s2}*4-DP-FC512-PLIF-DP-FC100-PLIF-APk10s10": (2, 128, 128),
    "{c128k3s1-BN-PLIF-MPk2s2}*5-DP-FC512-PLIF-DP-FC110-PLIF-APk10s10": (2, 128, 128),
}


@pytest.mark.parametrize("text", TABLE_S1)
def test_the_strings_of_table_S1_print_back_unchanged(text: str) -> None:
    assert str(parse_notation(text)) == text


@pytest.mark.parametrize("text", ["c32k2s2-LIF", "{c8k5s3-IF-APk2s1}*3-FC7-IF", "BN-c1k1s1-PLIF-DP-FC2"])
def test_general_kernels_strides_pools_and_neurons_print_back_unchanged(text: str) -> None:
    assert str(parse_notation(text)) == text


def test_the_gesture_network_has_the_layers_and_shapes_of_the_authors_code() -> None:
    steps = name_layers(
        parse_notation("{c128k3s1-BN-PLIF-MPk2s2}*5-DP-FC512-PLIF-DP-FC110-PLIF-APk10s10"), (2, 128, 128)
    )
    assert [s.name for s in steps][-9:] == [
        "conv5_pool",
        "flatten",
        "fc1_dropout",
        "fc1",
        "fc1_neuron",
        "fc2_dropout",
        "fc2",
        "fc2_neuron",
        "vote",
    ]
    shapes = {s.name: s.out_shape for s in steps}
    assert shapes["conv5_pool"] == (128, 4, 4) and shapes["flatten"] == (2048,) and shapes["vote"] == (11,)


def test_padding_is_half_an_odd_kernel_and_none_for_an_even_one() -> None:
    for text, shape in (("c4k3s1-IF", (4, 9, 9)), ("c4k5s2-IF", (4, 5, 5)), ("c4k2s2-IF", (4, 4, 4))):
        assert name_layers(parse_notation(text), (1, 9, 9))[0].out_shape == shape


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("", 1),
        ("c128k3", 1),
        ("c8k3s1-", 8),
        ("c8k3s1--BN", 8),
        ("{BN-PLIF", 9),
        ("{BN-PLIF}", 10),
        ("{BN}*0", 5),
        ("BN-PLIFX", 8),
        ("BN-RELU", 4),
        ("FC0", 1),
        ("bn", 1),
        ("BN PLIF", 3),
        ("{" * 30, 22),
    ],
)
def test_errors_point_at_the_character(text: str, character: int) -> None:
    with pytest.raises(NotationError) as error:
        parse_notation(text)
    assert error.value.position == character - 1
    assert f"character {character}:" in str(error.value) and "\n" not in str(error.value)


def test_a_short_string_cannot_ask_for_a_billion_layers() -> None:
    with pytest.raises(NotationError, match="more than 10000 layers"):
        parse_notation("{{{BN}*1000}*1000}*1000")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FC10-PLIF-c4k3s1-PLIF", "needs an image"),
        ("FC10-BN-PLIF", "needs an image"),
        ("c4k9s1-MPk20s20-IF", "does not fit"),
        ("FC30-PLIF-APk7s7", "whose size divides"),
        ("FC30-PLIF-MPk10s10", "expected a vote"),
    ],
)
def test_layers_that_do_not_fit_are_named(text: str, problem: str) -> None:
    with pytest.raises(PlifError, match=problem):
        name_layers(parse_notation(text), (2, 12, 12))
