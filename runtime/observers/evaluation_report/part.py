ABOUT = "The report of an evaluation: a page, a model card, pictures, what neurons do, and the figures' numbers."
CONTRACT = "Observer"
HEARS = ("eval",)
GIVES = {"synops": "activity:synops"}
LAST = True  # it draws what the others add
PAGE = "docs/report.md"
