"""The words of `launch.predict`: its flags, and a table with the predictions beside its columns."""
