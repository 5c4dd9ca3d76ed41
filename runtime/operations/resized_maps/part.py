ABOUT = "Maps of other sizes: resized, and pooled to a size."
CONTRACT = "Operation"
NAMES = ("Resize", "GlobalAvgPool", "AdaptiveAvgPool")
