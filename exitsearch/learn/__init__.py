"""Training exit heads over a frozen backbone: data, losses, recipes, the bank of all heads, the chosen model."""
