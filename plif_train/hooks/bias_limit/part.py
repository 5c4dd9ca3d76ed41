ABOUT = "Biases that cost no spikes in silence."
CONTRACT = "Observer"
OPTIONS = "keys:Keys"
PAGE = "docs/training.md"
