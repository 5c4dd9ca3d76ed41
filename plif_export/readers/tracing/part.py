ABOUT = "Records the operations of a live module while it runs."
CONTRACT = "Reader"
NAMES = ()
NEEDS = ("plif_export/readers/unseen_state", "plif_export/readers/libraries")
