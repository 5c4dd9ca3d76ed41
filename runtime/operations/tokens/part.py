ABOUT = "Attention over tokens: products of two values, and reductions along axes."
CONTRACT = "Operation"
NAMES = (
    "Reduce",
    "Softmax",
    "LayerNorm",
    "RMSNorm",
    "MatMul",
)
