"""How a budget is divided among the components."""
