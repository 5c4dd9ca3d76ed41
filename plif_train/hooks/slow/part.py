ABOUT = "Neurons before the readout that remember."
CONTRACT = "Observer"
OPTIONS = "keys:SlowKeys"
PAGE = "docs/training.md"
