"""The words of `launch.compress`: its flags, the texts it reads, tables and picture."""
