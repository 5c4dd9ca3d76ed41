ABOUT = "Columns of numbers that are events, under the names that others give them."
CONTRACT = "Format"
NAMES = ()
