"""The words of `launch.adapter`: its flags, what each action does, and the tables it prints."""
