"""What every package stands on: checks, devices, files, options, plots; nothing of the field."""

__version__ = "0.1.0"
