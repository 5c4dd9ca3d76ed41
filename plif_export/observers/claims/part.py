"""The part behind `--metadata` and the statements of a card that no new proof can confirm."""

ABOUT = "Provenance in cards, and what of a card's statements a new proof cannot confirm."
CONTRACT = "Observer"
NAMES = ()
GIVES = {"provenance": "claims:collect_provenance", "unconfirmed claims": "claims:list_unconfirmed"}
PAGE = "docs/trust.md"
