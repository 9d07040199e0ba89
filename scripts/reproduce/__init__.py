"""The parts of `scripts/reproductions.py`: each finds figures (`find`) and says them in text (`text`)."""
