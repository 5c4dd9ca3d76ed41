ABOUT = "The report of an evaluation: a page, a model card, pictures, neuron activity, and the data of the figures."
CONTRACT = "Observer"
HEARS = ("eval",)
GIVES = {"synops": "activity:count_synops"}
LAST = True  # it draws what the others add
PAGE = "docs/report.md"
