ABOUT = "A proof that takes minutes: a long run, and a search for an input on which artifact and model part."
CONTRACT = "Observer"
HEARS = ("proof",)
OPTIONS = "ThoroughOptions"
PAGE = "docs/trust.md"
