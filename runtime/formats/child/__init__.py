"""Child processes that read untrusted files: children.py starts them, sandbox.py confines them, records.py reads them."""
