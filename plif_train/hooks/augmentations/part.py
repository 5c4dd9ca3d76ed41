ABOUT = "Images and recordings that are moved, turned, thinned out and mirrored anew in each epoch."
CONTRACT = "Observer"
GIVES = {"augmentations": "augment:AUGMENTATIONS"}
PAGE = "docs/training.md"
