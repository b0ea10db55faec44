"""The networks and their inputs: architecture, towers, tokenizer, image preprocessing and checkpoints."""
