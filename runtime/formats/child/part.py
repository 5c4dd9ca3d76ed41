ABOUT = "Child processes that read untrusted files, with limits of time, memory and rights."
CONTRACT = "Format"
NAMES = ()
GIVES = {"confinement": "children:describe_confinement"}
PAGE = "docs/limits.md"
