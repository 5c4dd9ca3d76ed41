"""What a recipe says of augmentation."""

from __future__ import annotations

from plif_train import Recipe
from plif_train.core.loop.hooks import find_augmentation
from plif_train.core.loop.training import PRECISIONS
from plif_train.core.network.layers import MODES
from plif_train.core.network.losses import LOSSES
from plif_train.core.network.network import Options
from plif_train.core.network.surrogate import SURROGATES
from plif_train.core.recipe import KEYS, NETWORK, list_recipes, read_recipe
from plif_train.hooks.augmentations.augment import AUGMENTATIONS
from plif_train.hooks.mixed_windows.windows import parse_variation
from runtime.core.model.grids import GRIDS


def test_what_a_key_may_be_is_what_the_training_has() -> None:
    for key, known in (
        ("loss", LOSSES),
        ("bn", MODES),
        ("surrogate", SURROGATES),
        ("precision", PRECISIONS),
        ("weights", GRIDS),
    ):
        assert set(KEYS[key].metadata["choices"]) == set(known), key
    names = {name for name, key in KEYS.items() if key.metadata["group"] == NETWORK}
    assert {"bias", "init_tau", "tau", "surrogate", "detach_reset", "dropout"} == names & set(
        Options.__dataclass_fields__
    )
    assert {part.partition(":")[2] for part in Recipe().augment.split(",")} <= set(AUGMENTATIONS)


# --- what ships -----------------------------------------------------------------------------------------------------


def test_every_recipe_that_ships_is_read_and_can_be_trained() -> None:
    assert set(list_recipes()) == {"authors", "paper", "live", "gesture", "digits"}
    for name in list_recipes():
        recipe = read_recipe(name)
        for data in (*(recipe.data or ("mnist",)), "cifar10", "folder"):
            find_augmentation(recipe.augment, data)
        assert all(parse_variation(text) for text in recipe.vary) and len(recipe.vary) == len(recipe.mix)
