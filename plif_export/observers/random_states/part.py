ABOUT = "Random spikes and membranes, asked of every layer by the gate, and for minutes with --thorough."
CONTRACT = "Observer"
HEARS = ("proof",)
OPTIONS = "ThoroughOptions"
GIVES = {"question of the gate": "probe:check_random_states"}
PAGE = "docs/trust.md"
