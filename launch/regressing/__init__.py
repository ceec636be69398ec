"""The words of `launch.regress`: flags, tables of samples, the fit and what is written of it."""
