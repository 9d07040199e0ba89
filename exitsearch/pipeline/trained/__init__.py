"""What a trained multi-exit model has come to: beside its prediction, before the question again, and beside others."""
