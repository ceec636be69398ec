"""Dropout in linear networks as a penalty."""
