ABOUT = "Several processes that train one network, each on its share of every batch."
CONTRACT = "Observer"
HEARS = ("ranks",)
PAGE = "docs/training.md"
