"""Files: images, masks, bundles, checkpoints and run folders. Nothing else reads or writes them."""
