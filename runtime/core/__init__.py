"""The code that train, export, verify, eval, stream and info need when every part is removed."""
