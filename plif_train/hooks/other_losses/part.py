ABOUT = "Losses beside that of the authors' code: of each step, cross-entropy, TET."
CONTRACT = "Observer"
GIVES = {"other_losses_of_a_training": "losses:LOSSES"}
PAGE = "docs/training.md"
