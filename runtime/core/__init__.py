"""What train, export, verify, eval, stream and info need when every part is gone."""
