"""Save and load: weights during training, weights by hand, and whole models.

    python examples/keras/save_load.py [--short] [--folder FOLDER]

Weights need a model of the same layers to be loaded into. A whole model needs nothing: it has its layers, its weights,
and its optimizer, with which training continues as if it had not been interrupted.
"""

import argparse
import os
import tempfile

import numpy as np

import minidense as keras
from minidense import layers


def create_model():
    model = keras.Sequential(
        [
            keras.Input(shape=(64,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["sparse_categorical_accuracy"],
    )
    return model


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    parser.add_argument("--folder", help="where the files go; by default, into a folder that is removed at the end")
    options = parser.parse_args(arguments)
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return save_and_load(folder, epochs=4 if options.short else 10)
    return save_and_load(options.folder, epochs=4 if options.short else 10)


def save_and_load(folder, epochs):
    (train_images, train_labels), (test_images, test_labels) = keras.datasets.load_digits()
    train_images, train_labels = train_images[:1000] / 16.0, train_labels[:1000]
    test_images, test_labels = test_images[:1000] / 16.0, test_labels[:1000]
    accuracy = {}

    def report(name, model):
        _, accuracy[name] = model.evaluate(test_images, test_labels, verbose=0)
        print(f"{name:>28}: accuracy {100 * accuracy[name]:5.2f} %")

    # 1. Weights after each epoch, and which of the files is the last one.
    checkpoint_path = os.path.join(folder, "training", "cp-{epoch:04d}.weights.npz")
    model = create_model()
    model.save_weights(checkpoint_path.format(epoch=0))
    callback = keras.callbacks.ModelCheckpoint(filepath=checkpoint_path, verbose=1, save_weights_only=True)
    model.fit(
        train_images,
        train_labels,
        epochs=epochs,
        batch_size=32,
        validation_data=(test_images, test_labels),
        callbacks=[callback],
        verbose=0,
    )
    report("trained", model)
    files = sorted(os.listdir(os.path.dirname(checkpoint_path)))
    print("\n".join(files))

    model_2 = create_model()
    report("untrained", model_2)
    model_2.load_weights(os.path.join(os.path.dirname(checkpoint_path), files[-1]))
    report("weights of the last epoch", model_2)
    model_2.load_weights(checkpoint_path.format(epoch=1))
    report("weights of the first epoch", model_2)

    # 2. Weights by hand.
    model.save_weights(os.path.join(folder, "by_hand.weights.npz"))
    model_3 = create_model()
    model_3.load_weights(os.path.join(folder, "by_hand.weights.npz"))
    report("weights saved by hand", model_3)

    # 3. Whole models.
    model.save(os.path.join(folder, "my_model.keras"))
    new_model = keras.models.load_model(os.path.join(folder, "my_model.keras"))
    new_model.summary()
    report("whole model, loaded", new_model)
    equal = np.array_equal(new_model.predict(test_images), model.predict(test_images))
    print(f"the predictions are equal, to the last bit: {equal}")

    for one in (model, new_model):
        one.fit(train_images, train_labels, epochs=1, verbose=0)
    equal_later = np.array_equal(new_model.predict(test_images), model.predict(test_images))
    print(f"and they are so after one more epoch of each: {equal_later}")

    # 4. Only the best of all epochs.
    model.compile(keras.optimizers.Adam(0.03), model.loss, metrics=["accuracy"])  # large steps: up and down
    best_path = os.path.join(folder, "best.keras")
    best = keras.callbacks.ModelCheckpoint(best_path, monitor="val_loss", save_best_only=True)
    held_out = (test_images, test_labels)
    history = model.fit(
        train_images, train_labels, epochs=3 * epochs, validation_data=held_out, callbacks=[best], verbose=0
    )
    best_loss, _ = keras.models.load_model(best_path).evaluate(*held_out, verbose=0)
    lowest, last = min(history.history["val_loss"]), history.history["val_loss"][-1]
    print(f"val_loss: {lowest:.4f} at its lowest, {last:.4f} at last; loss of the saved model {best_loss:.4f}")
    return {
        "accuracy": accuracy,
        "files": files,
        "equal": equal,
        "equal later": equal_later,
        "best": {"lowest": lowest, "last": last, "saved": best_loss},
    }


if __name__ == "__main__":
    main()
