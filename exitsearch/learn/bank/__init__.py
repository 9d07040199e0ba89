"""The bank: every candidate head trained in one pass over one frozen backbone; `train.py` starts it."""
