"""CLIP: the network, its weights and its inputs; knows no config and no command line."""
