"""What the README and docs/ say: commands, installs, links, the site."""
