"""Train, be killed at any moment, resume: the result is the same to the bit.

python examples/resume.py [--epochs N] [--folder FOLDER] [--kill-at STEP]

Interrupt it with Ctrl-C, or let it kill itself with --kill-at, and start it again: it resumes from the last
checkpoint. The digest that it prints at the end is always the same.
"""

import argparse
import hashlib
import os
import signal

import minidense as md


class Kill(md.Callback):
    """Kills the process after a number of steps, as suddenly as a power cut."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--kill-at", type=int, default=0)
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    path = os.path.join(options.folder, "digits-run.npz")

    model = md.Sequential([md.Dense(100, "relu"), md.Dropout(0.2), md.Dense(10, "softmax")], rng=0)
    model.compile(md.Adam(md.schedules.CosineDecay(0.002, 1000)), metrics=["accuracy"])
    history = model.fit(
        x_train / 16,
        y_train,
        epochs=options.epochs,
        validation_split=0.1,
        callbacks=[md.callbacks.ModelCheckpoint(path, every="50 steps"), Kill(options.kill_at)],
        resume="auto",
    )
    accuracy = model.evaluate(x_test / 16, y_test)["accuracy"]
    digest = hashlib.sha256(model.theta.tobytes() + repr(history.history).encode()).hexdigest()
    print(f"test accuracy {accuracy:.4f}; parameters and history: {digest[:16]}")
    return digest


if __name__ == "__main__":
    main()
