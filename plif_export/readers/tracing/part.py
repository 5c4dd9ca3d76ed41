ABOUT = "What a live module does, written down while it runs."
CONTRACT = "Reader"
NAMES = ()
NEEDS = ("plif_export/readers/unseen_state", "plif_export/readers/libraries")
