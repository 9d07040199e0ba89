"""What a training writes: where it stands, its record, its log and the model in the end."""
