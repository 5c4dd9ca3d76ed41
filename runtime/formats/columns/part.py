ABOUT = "Event columns of numbers, under the usual third-party names."
CONTRACT = "Format"
NAMES = ()
