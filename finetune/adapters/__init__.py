"""What adapters compute: the contract of a method and the parts it is built of."""
