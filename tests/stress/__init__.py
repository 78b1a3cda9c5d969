"""Random problems of every kind, solved and checked against independent answers."""
