"""What `bench_peers.py` holds against each other, one file a part."""
