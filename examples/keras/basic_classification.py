"""Basic classification: name what is in an image.

    python examples/keras/basic_classification.py [--short]

Clothes in ten classes, if the files of Fashion-MNIST are on this machine, otherwise handwritten digits. The model is
trained on scores; a second one with a softmax behind it gives probabilities.
"""

import argparse

import numpy as np

import minidense as keras
from minidense import layers

CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def load_images():
    """Images with values from 0 to 1, their labels, and the names of the labels."""
    try:
        (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
        return (x / 255.0, y), (x_test / 255.0, y_test), CLOTHES
    except FileNotFoundError:
        (x, y), (x_test, y_test) = keras.datasets.load_digits()
        return (x.reshape(-1, 8, 8) / 16.0, y), (x_test.reshape(-1, 8, 8) / 16.0, y_test), DIGITS


def as_text(image):
    """A small picture in letters: the darker, the more ink."""
    return "\n".join("".join(" .:-=+*#%@"[round(9 * ink)] * 2 for ink in row) for row in image)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer images and epochs")
    options = parser.parse_args(arguments)

    (train_images, train_labels), (test_images, test_labels), class_names = load_images()
    if options.short:
        train_images, train_labels = train_images[:4000], train_labels[:4000]
    print(f"training images {train_images.shape}, test images {test_images.shape}")
    print(f"{as_text(train_images[0])}\nThis is: {class_names[train_labels[0]]}")

    model = keras.Sequential(
        [
            keras.Input(shape=train_images.shape[1:]),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.summary()
    model.fit(train_images, train_labels, epochs=5 if options.short else 10, verbose=2)
    test_loss, test_accuracy = model.evaluate(test_images, test_labels, verbose=0)
    print(f"test accuracy {test_accuracy:.3f}, loss {test_loss:.3f}")

    probability_model = keras.Sequential([model, layers.Softmax()])
    predictions = probability_model.predict(test_images)
    guesses = np.argmax(predictions, axis=1)
    print("\nthe first five test images:")
    for probabilities, guess, label in zip(predictions[:5], guesses, test_labels, strict=False):
        verdict = "right" if guess == label else f"wrong, it is {class_names[label]}"
        print(f"{class_names[guess]:>10} {100 * probabilities[guess]:5.1f} %  {verdict}")

    image = np.expand_dims(test_images[1], 0)  # a batch of one
    single = probability_model.predict(image)
    print(f"the second one alone: {class_names[np.argmax(single[0])]}")

    print("\nthe surest of the mistakes:")
    wrong = np.flatnonzero(guesses != test_labels)
    worst = wrong[np.argmax(predictions[wrong].max(axis=1))]
    print(as_text(test_images[worst]))
    print(f"guessed: {class_names[guesses[worst]]}, but it is: {class_names[test_labels[worst]]}")

    return {
        "accuracy": test_accuracy,
        "predictions": predictions,
        "single": single,
        "test_labels": test_labels,
        "majority": np.bincount(test_labels).max() / len(test_labels),
    }


if __name__ == "__main__":
    main()
