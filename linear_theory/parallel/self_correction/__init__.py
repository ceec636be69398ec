"""How parallel workers correct each other, and at what rate."""
