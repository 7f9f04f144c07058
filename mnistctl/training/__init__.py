"""Training: the only folder that imports PyTorch."""
