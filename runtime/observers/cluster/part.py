ABOUT = "The workers of an evaluation on many machines, by Ray."
CONTRACT = "Observer"
HEARS = ("workers",)
OPTIONS = "ClusterOptions"
REQUIRES = ("ray",)
EXTRA = "cluster"
PAGE = "docs/cluster.md"
