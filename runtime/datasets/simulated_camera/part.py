ABOUT = "A simulated camera, its pixels in C, and what the makers of simulated sets share."
CONTRACT = "DataSet"
NAMES = ()
NATIVE = ("native/scene.c",)
