ABOUT = "What no trace of a module shows, such as the clock, files, and what Python keeps between two steps."
CONTRACT = "Reader"
NAMES = ()
