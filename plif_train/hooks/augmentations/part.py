ABOUT = "Images and recordings that are moved, turned, thinned out and mirrored anew in each epoch."
CONTRACT = "Observer"
GIVES = {"augmentation_functions": "augment:AUGMENTATIONS"}
PAGE = "docs/training.md"
