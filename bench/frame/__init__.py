"""What runs us and the peers in turn, and writes down what came of it."""
