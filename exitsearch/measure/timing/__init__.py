"""Time: clocks, the latency protocol with its warm-up, whole paths, and what a list of times says."""
