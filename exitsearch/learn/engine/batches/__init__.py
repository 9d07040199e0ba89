"""What a step learns from: its samples, what they are changed by, random streams, unlabelled samples and a teacher."""
