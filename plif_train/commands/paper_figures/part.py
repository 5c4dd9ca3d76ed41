"""The command `plif paper figures`."""

CONTRACT = "Command"
NAMES = ("paper figures",)
ABOUT = "Draw the paper's figures of a model, and print its Table S2 for a folder of runs."
REQUIRES = ("torch",)
EXTRA = "train"
NEEDS = ("plif_train/commands/paper_rows", "runtime/observers/evaluation_report")
PAGE = "docs/training.md"
