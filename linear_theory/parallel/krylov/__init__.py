"""What one round of the Krylov solver does."""
