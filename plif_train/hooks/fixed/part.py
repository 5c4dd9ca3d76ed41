ABOUT = "Layers that stay as they are while others learn."
CONTRACT = "Observer"
OPTIONS = "keys:Keys"
PAGE = "docs/training.md"
