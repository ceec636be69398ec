"""Classical perturbation theory, which both deflations use."""
