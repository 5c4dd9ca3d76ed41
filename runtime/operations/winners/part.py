ABOUT = "The largest values of an axis, for neurons of which only the strongest fire."
CONTRACT = "Operation"
NAMES = ("TopK",)
