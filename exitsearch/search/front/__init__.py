"""The front of several objectives: choices that no other beats in all of them."""
