ABOUT = "scheme://HOST:PORT?key=value, which network sources are told."
CONTRACT = "Source"
NAMES = ()
