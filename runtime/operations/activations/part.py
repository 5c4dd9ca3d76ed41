ABOUT = "Activations of analogue layers: GELU, and those made of simpler functions."
CONTRACT = "Operation"
NAMES = ("Gelu",)
