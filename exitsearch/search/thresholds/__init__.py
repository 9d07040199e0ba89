"""The policy confidence: scores of samples, replayed under thresholds, thresholds optimised, exits chosen."""
