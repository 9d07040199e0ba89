"""HTTP: what comes in, what goes out, and the server around it."""
