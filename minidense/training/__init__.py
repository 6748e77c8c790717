"""The training loop: inputs, steps, evaluation, history."""
