"""Sequential deflation on three spectra."""
