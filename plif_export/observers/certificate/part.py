ABOUT = "What anybody needs to repeat the numeric proof of an ONNX file without plif."
CONTRACT = "Observer"
HEARS = ("artifact",)
SUFFIX = ".certificate.json"
PAGE = "docs/trust.md"
