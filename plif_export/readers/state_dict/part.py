ABOUT = "A bare state_dict of SpikingJelly or of the authors' code, with the notation of its network."
CONTRACT = "Reader"
MAGIC = b"PK"
PAGE = "docs/other-libraries.md"
