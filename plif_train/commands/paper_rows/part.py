"""The command `plif paper`."""

CONTRACT = "Command"
NAMES = ("paper",)
ABOUT = "Reproduce a table or figure of the paper: its command, and where a training stands."
REQUIRES = ("torch",)
EXTRA = "train"
NEEDS = ("plif_train/hooks/kept_epochs",)
PAGE = "docs/results.md"
