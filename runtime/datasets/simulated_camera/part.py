ABOUT = "A simulated camera, with its pixels in C, and the shared code of the makers of simulated sets."
CONTRACT = "DataSet"
NAMES = ()
NATIVE = ("native/scene.c",)
