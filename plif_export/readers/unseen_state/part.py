ABOUT = "Hidden state of a module, which no trace shows: the clock, files, Python values between steps."
CONTRACT = "Reader"
NAMES = ()
