ABOUT = "Neurons before the readout that remember."
CONTRACT = "Observer"
OPTIONS = "keys:Keys"
PAGE = "docs/training.md"
