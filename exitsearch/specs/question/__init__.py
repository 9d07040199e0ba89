"""What a search is asked: the space it may choose from, its limits and knobs, the candidates, the whole request."""
