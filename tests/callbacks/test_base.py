"""The order of hooks, what a checkpoint keeps of callbacks, and when they cannot resume from it."""

import copy
import dataclasses
import math
import re
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense import callbacks
from minidense.callbacks.base import CallbackList
from minidense.core.configurable import LIBRARY, load_state_dict, state_dict

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


def test_hooks_come_in_order():
    seen = []
    names = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]
    hooks = {name: lambda *args, name=name: seen.append((name, *args[:-1])) for name in names}
    make().fit(X, Y, batch_size=10, epochs=2, callbacks=[callbacks.LambdaCallback(**hooks)], verbose=0)
    epoch = [("on_batch_begin", 0), ("on_batch_end", 0), ("on_batch_begin", 1), ("on_batch_end", 1)]
    expected = [("on_train_begin",)]
    for number in range(2):
        expected += [("on_epoch_begin", number), *epoch, ("on_epoch_end", number)]
    assert seen == [*expected, ("on_train_end",)]


def test_logs_and_params():
    class Keeps(md.Callback):
        def on_epoch_end(self, epoch, logs):
            self.logs = logs

    callback, model = Keeps(), make()
    history = model.fit(X, Y, batch_size=8, epochs=2, validation_data=(X, Y), callbacks=[callback], verbose=0)
    assert callback.model is model
    begin = {"resumed": False, "initial_epoch": 0, "initial_step": 0}
    assert callback.params == {"epochs": 2, "steps": 3, "batch_size": 8} | begin
    assert callback.logs == {name: values[-1] for name, values in history.history.items()}
    assert list(callback.logs) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert repr(history).startswith("History(2 epochs, last: loss=")


def test_train_end_comes_also_after_an_error():
    seen = []

    def fail(epoch, logs):
        raise KeyError("mine")

    hooks = callbacks.LambdaCallback(on_epoch_end=fail, on_train_end=seen.append)
    model = make()
    try:
        model.fit(X, Y, callbacks=[hooks], verbose=0)
    except KeyError:
        seen.append("raised")
    assert seen == [{}, "raised"]
    assert len(model.history.epoch) == 1


def test_only_hooks_that_are_overridden_are_called():
    class Ends(md.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["seen"] = epoch

    several = CallbackList([Ends(), callbacks.LambdaCallback()])
    assert not several.per_batch
    assert not several.saves
    assert [several.wants(hook) for hook in ("on_epoch_end", "on_batch_end", "on_train_begin")] == [True, False, False]
    logs = {}
    several.call("on_epoch_end", 3, logs)
    assert logs == {"seen": 3}
    unset = callbacks.LambdaCallback(on_batch_end=print)
    assert CallbackList([unset]).per_batch
    unset.on_batch_end = None
    assert not CallbackList([unset]).per_batch
    assert CallbackList([callbacks.ModelCheckpoint("x", every=1)]).per_batch
    assert not CallbackList([callbacks.ModelCheckpoint("x")]).per_batch
    assert CallbackList([callbacks.ModelCheckpoint("x")]).saves


def test_only_callbacks_are_taken():
    for wrong in (callbacks.EarlyStopping(), {}, None):
        with pytest.raises(TypeError, match="callbacks: expected a list"):
            CallbackList(wrong)
    with pytest.raises(TypeError, match=r"expected md.callbacks.Callback objects, got <function"):
        CallbackList([lambda: 0])


# ------------------------------------------------------------------ arguments


def test_a_callback_without_a_constructor_takes_no_arguments():
    class Plain(md.Callback):
        pass

    for cls in (Plain, callbacks.GradientHealth):
        with pytest.raises(TypeError, match=rf"{cls.__name__}: too many positional arguments. It takes no arguments."):
            cls(5)
        with pytest.raises(TypeError, match=rf"{cls.__name__} takes no keyword 'patience'. It takes no arguments."):
            cls(patience=5)


def test_an_argument_set_later_is_checked_and_nothing_else_changes():
    stop = callbacks.EarlyStopping(patience=3)
    stop.wait, stop.best = 2, 0.5
    stop.patience = 5
    assert (stop.patience, stop.wait, stop.best) == (5, 2, 0.5)
    assert stop.get_config()["patience"] == 5
    with pytest.raises(ValueError, match="EarlyStopping: patience: expected a whole number of at least 0, got -1"):
        stop.patience = -1
    with pytest.raises(ValueError, match=r"unknown mode 'most'. Known: 'auto', 'max', 'min'"):
        stop.mode = "most"
    assert (stop.patience, stop.mode) == (5, "auto")
    assert repr(stop) == "EarlyStopping(patience=5)"


def test_the_constructor_of_ones_own_callback_is_called_once():
    made = []

    class Log(md.Callback):
        def __init__(self, path, width=80):
            made.append(path)
            self.path, self.width = path, width

    class Patient(callbacks.EarlyStopping):
        def __init__(self, patience):
            made.append(patience)
            super().__init__(patience=patience)

    log, patient = Log("a"), Patient(3)
    log.width, patient.patience = 40, 7
    assert made == ["a", 3]
    assert (log.width, log.get_config(), patient.patience) == (40, {"path": "a", "width": 40}, 7)


# ------------------------------------------------------------------ what a checkpoint keeps


def test_every_callback_of_the_library_goes_through_its_state_dict():
    made = {
        "CSVLogger": lambda: callbacks.CSVLogger("log.csv"),
        "EarlyStopping": callbacks.EarlyStopping,
        "GradientHealth": callbacks.GradientHealth,
        "LambdaCallback": callbacks.LambdaCallback,
        "LearningRateScheduler": lambda: callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        "ModelCheckpoint": lambda: callbacks.ModelCheckpoint("x.npz"),
        "ProgressBar": lambda: LIBRARY["ProgressBar"](),
        "ProgressLines": lambda: LIBRARY["ProgressLines"](),
        "ReduceLROnPlateau": callbacks.ReduceLROnPlateau,
    }
    assert made.keys() == {name for name, cls in LIBRARY.items() if issubclass(cls, md.Callback)}
    for make_one in made.values():
        one, other = make_one(), make_one()
        state = copy.deepcopy(state_dict(one))
        load_state_dict(other, state)
        assert repr(state_dict(other)) == repr(state)
        assert CallbackList([other]).check(CallbackList([one]).state()) == []


@given(
    best=st.floats(),
    wait=st.integers(0),
    epoch=st.none() | st.integers(0),
    kept=st.none() | st.lists(st.lists(st.floats(width=32)).map(np.array), min_size=2, max_size=2),
)
def test_early_stopping_through_its_state_dict(best, wait, epoch, kept):
    stop, again = callbacks.EarlyStopping(), callbacks.EarlyStopping()
    stop.best, stop.wait, stop.best_epoch, stop._kept = best, wait, epoch, kept
    load_state_dict(again, state_dict(stop))
    assert repr(state_dict(again)) == repr(state_dict(stop))
    assert math.isnan(best) or again.best == best


class Counter(md.Callback):
    saved = ("count",)
    count: int = 0

    def on_batch_end(self, batch, logs):
        self.count += 1


class Stopper(callbacks.EarlyStopping):
    saved = ("told",)

    def __init__(self, patience=0, watch=None):
        super().__init__("loss", patience=patience)
        self.told = []


def test_the_state_is_what_is_said():
    stop = Stopper(patience=3, watch=make())
    stop.other = object()  # is not named, and not saved
    states = CallbackList([Counter(), stop]).state()
    assert states[0] == {"class": "Counter", "steers": False, "config": {}, "saved": {"count": 0}}
    assert states[1]["config"] == {"patience": 3}
    assert states[1]["steers"]
    assert list(states[1]["saved"]) == ["best", "best_of", "wait", "stopped_epoch", "best_epoch", "_kept", "told"]


def test_a_name_without_an_attribute_is_an_error():
    class Forgets(md.Callback):
        saved = ("losses",)

        def __init__(self):
            self.loses = []

    with pytest.raises(ValueError, match=r"names 'losses' in `saved`, but has no such attribute. Did you mean 'loses'"):
        CallbackList([Forgets()]).state()


def resumed(here, states, run=None):
    several = CallbackList(here)
    assert several.check(states) == []
    several.resume(copy.deepcopy(states), run or types.SimpleNamespace())


def test_matched_by_class_and_order():
    one, two, stop = Counter(), Counter(), callbacks.EarlyStopping()
    one.count, two.count, stop.wait = 1, 2, 7
    states = CallbackList([one, stop, two]).state()
    for order in ((0, 1, 2), (2, 0, 1), (0, 2, 1)):
        here = [Counter(), Counter(), callbacks.EarlyStopping()]
        resumed([here[i] for i in order], states)
        assert [here[0].count, here[1].count, here[2].wait] == [1, 2, 7]
    new = Counter()
    new.count = 5
    resumed([Counter(), stop, Counter(), new], states)
    assert new.count == 5, "the file does not know it"


def test_equal_callbacks_are_told_apart():
    @dataclasses.dataclass
    class Noted(md.Callback):
        saved = ("count",)
        step: int = 0

        def __post_init__(self):
            self.count = 0

    there, here = [Noted(), Noted()], [Noted(), Noted()]
    there[0].count, there[1].count = 1, 2
    resumed(here, CallbackList(there).state())
    assert [one.count for one in here] == [1, 2]


def test_the_same_callbacks_used_again_have_what_the_file_says():
    class Keeps(Counter):
        saved = ("losses",)

        def on_train_begin(self, logs):
            self.losses = []

    one = Keeps()
    one.on_train_begin({})
    states = copy.deepcopy(CallbackList([one]).state())
    one.count, one.losses = 9, [1.0, 2.0]
    resumed([one], states)
    assert (one.count, one.losses) == (0, [])


def test_what_steers_cannot_be_missing_or_other():
    states = CallbackList([callbacks.EarlyStopping("loss", patience=3), callbacks.GradientHealth(), Counter()]).state()
    health = callbacks.GradientHealth()
    assert CallbackList([]).check(states) == [
        "the callback 'EarlyStopping' is missing here; pass one again",
        "the callback 'GradientHealth' is missing here; pass one again",
    ]
    other = callbacks.EarlyStopping("accuracy", patience=5)
    assert CallbackList([other, health]).check(states) == [
        "the monitor of EarlyStopping is 'loss' in the file, and 'accuracy' here",
        "the patience of EarlyStopping is 3 in the file, and 5 here",
    ]
    keep = CallbackList([callbacks.ModelCheckpoint("a/{epoch}.npz", keep=3)]).state()
    assert CallbackList([callbacks.ModelCheckpoint("b/{epoch}.npz", keep=5)]).check(keep) == []


def test_arguments_that_are_no_number_are_alike():
    class Above(md.Callback):
        steers = True

        def __init__(self, limit):
            self.limit = limit

    (state,) = CallbackList([Above(math.nan)]).state()
    assert CallbackList([Above(math.nan)]).check([state]) == []
    assert CallbackList([Above(np.float32("nan"))]).check([state]) == []
    (found,) = CallbackList([Above(0.5)]).check([state])
    assert found == "the limit of Above is nan in the file, and 0.5 here"
    (found,) = CallbackList([Above(math.nan)]).check(CallbackList([Above(0.5)]).state())
    assert found == "the limit of Above is 0.5 in the file, and nan here"


def test_functions_among_the_arguments_are_not_compared():
    states = CallbackList([callbacks.LearningRateScheduler(lambda epoch, rate: rate)]).state()
    assert states[0]["config"] == {}
    assert CallbackList([callbacks.LearningRateScheduler(lambda epoch, rate: rate)]).check(states) == []


def test_one_of_two_of_a_class_cannot_be_left_out():
    """It is unknown which one is missing; a callback that has lost its best value would overwrite its best file."""
    latest, best = callbacks.ModelCheckpoint("latest.npz"), callbacks.ModelCheckpoint("best.npz", save_best_only=True)
    states = CallbackList([latest, best]).state()
    assert CallbackList([best]).check(states) == [
        "it has 2 callbacks ModelCheckpoint, matched by their order, but 1 passed here"
    ]
    assert CallbackList([]).check(states) == []
    assert CallbackList([latest, best, best]).check(states) == []
    hooks = CallbackList([callbacks.LambdaCallback(), callbacks.LambdaCallback()]).state()
    assert CallbackList([callbacks.LambdaCallback()]).check(hooks) == []


def test_a_saver_is_asked_after_steps_only_where_it_says_so():
    class Saver(md.Callback):
        def __init__(self):
            self.asked = 0

        def on_save_point(self, run):
            self.asked += 1

    saver = Saver()
    several = CallbackList([saver])
    several.save_point(None, of_step=True)
    assert (saver.asked, several.per_batch) == (0, False)
    several.save_point(None, of_step=False)
    assert saver.asked == 1
    saver.each_step = True
    several.save_point(None, of_step=True)
    assert (saver.asked, several.per_batch) == (2, True)


def forged(change):
    (state,) = CallbackList([callbacks.EarlyStopping(patience=3)]).state()
    change(state)
    return [state]


FORGED = {
    "no list": ({}, "incomplete"),
    "no dict": ([1], "incomplete"),
    "a key missing": (forged(lambda s: s.pop("steers")), "incomplete"),
    "a key more": (forged(lambda s: s.update(more=1)), "incomplete"),
    "class": (forged(lambda s: s.update({"class": ["EarlyStopping"]})), "incomplete"),
    "arguments that are a list": (forged(lambda s: s.update(config=[3])), "incomplete"),
    "an argument that is an array": (forged(lambda s: s["config"].update(patience=np.ones(3))), "incomplete"),
    "an argument without a name": (forged(lambda s: s["config"].update({3: 3})), "incomplete"),
    "an argument it does not have": (forged(lambda s: s["config"].update(speed=3)), "the speed of EarlyStopping is 3"),
    "saved is a list": (forged(lambda s: s.update(saved=[3])), "incomplete"),
    "a name missing": (
        forged(lambda s: s["saved"].pop("wait")),
        "EarlyStopping saves 'wait', which is missing in the file",
    ),
    "a name more": (
        forged(lambda s: s["saved"].update(monitor="x")),
        "EarlyStopping does not save 'monitor', which is in the file",
    ),
    "text for a number": (forged(lambda s: s["saved"].update(best="0")), "best must be of type float; the file has"),
    "a flag for a number": (forged(lambda s: s["saved"].update(wait=True)), "wait must be of type int"),
    "a number for a list": (forged(lambda s: s["saved"].update(_kept=3)), r"_kept must be of type list\[Array\]"),
    "text among arrays": (forged(lambda s: s["saved"].update(_kept=[np.ones(2), "x"])), "_kept must be of type list"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_state_is_refused_and_changes_nothing(case):
    states, message = FORGED[case]
    stop = callbacks.EarlyStopping(patience=3)
    stop.wait = 2
    before = dict(vars(stop))
    (found,) = CallbackList([stop]).check(states)
    assert re.search(message, found)
    assert vars(stop) == before
