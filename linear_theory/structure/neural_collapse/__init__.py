"""Neural collapse: what weight decay makes of the features of a class, where they are free."""
