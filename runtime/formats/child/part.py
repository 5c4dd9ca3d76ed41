ABOUT = "Files that a process of its own decodes, for what a damaged one does to a library."
CONTRACT = "Format"
NAMES = ()
