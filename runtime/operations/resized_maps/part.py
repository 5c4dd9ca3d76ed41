ABOUT = "Resizes maps, and pools them to a given size."
CONTRACT = "Operation"
NAMES = ("Resize", "GlobalAvgPool", "AdaptiveAvgPool")
