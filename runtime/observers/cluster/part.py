ABOUT = "The workers of an evaluation on many machines, by Ray."
CONTRACT = "Observer"
HEARS = ("elsewhere",)
OPTIONS = "ClusterOptions"
REQUIRES = ("ray",)
EXTRA = "cluster"
NEEDS = ("runtime/observers/evaluation_workers",)
PAGE = "docs/cluster.md"
