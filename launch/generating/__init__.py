"""The words of `launch.generate`: its flags, the prompts, and the model that goes on with them."""
