"""How fast plain gradient descent on two factors converges."""
