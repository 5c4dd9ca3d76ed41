"""What `plif train` needs: a recipe, a network, the loop of its training, and what is kept of it."""
