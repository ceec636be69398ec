"""Random instances that several topics share, and how runs are recorded."""
