ABOUT = "Biases that cost no spikes in silence."
CONTRACT = "Observer"
OPTIONS = "keys:BiasLimitKeys"
PAGE = "docs/training.md"
