"""What every command shares: flags, processes, outputs, tables."""
