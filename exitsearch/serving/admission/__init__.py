"""Which requests are let in, by what they will take, and the threads that answer them."""
