ABOUT = "The course of a training in tables, its last epoch to go on from, and its recipe to train again."
CONTRACT = "Observer"
HEARS = ("course",)
GIVES = {"like_recipe": "recorded:read_model_recipe"}
PAGE = "docs/training.md"
