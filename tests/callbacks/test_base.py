"""The order of hooks, what a checkpoint keeps of callbacks, and when they cannot resume from it."""

import copy
import dataclasses
import math
import re
import threading
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense import callbacks
from minidense.callbacks import base
from minidense.callbacks.base import CallbackList
from minidense.core.configurable import LIBRARY, load_state_dict, state_dict

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


HOOKS = [*base.HOOKS, "on_batch_begin", "on_batch_end"]


def noting(seen, *names):
    """A callback that notes each hook, with its numbers."""
    hooks = {name: lambda *args, name=name: seen.append((name, *args[:-1])) for name in names}
    return callbacks.LambdaCallback(**hooks)


def batches(what, n):
    return [(f"on_{what}_batch_{when}", batch) for batch in range(n) for when in ("begin", "end")]


@pytest.mark.parametrize("alias", [False, True])
def test_hooks_come_in_kerass_order(alias):
    """That of keras.Model.fit: the validation lies between the last batch and on_epoch_end."""
    seen = []
    names = [name for name in HOOKS if not name.startswith("on_batch" if not alias else "on_train_batch")]
    callback = noting(seen, *(name for name in names if name != "on_block_end"))
    make().fit(X, Y, batch_size=10, epochs=2, validation_data=(X, Y), callbacks=[callback], verbose=0)
    expected = [("on_train_begin",)]
    for epoch in range(2):
        expected += [("on_epoch_begin", epoch), *batches("train", 2)]
        expected += [("on_test_begin",), *batches("test", 1), ("on_test_end",), ("on_epoch_end", epoch)]
    expected.append(("on_train_end",))
    assert seen == [
        (name.replace("_train_", "_") if "_batch_" in name and alias else name, *n) for name, *n in expected
    ]


def test_the_other_name_of_a_hook_is_called_by_the_base_class_only():
    class Both(md.Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, batch, logs=None):
            self.seen.append("other")

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append("first")

    class Super(Both):
        def on_train_batch_end(self, batch, logs=None):
            super(Both, self).on_train_batch_end(batch, logs)

    for cls, name in ((Both, "first"), (Super, "other")):
        callback = cls()
        make().fit(X, Y, callbacks=[callback], verbose=0)
        assert callback.seen == [name]


def test_hooks_may_leave_out_parameters():
    seen = []

    class Short(md.Callback):
        def on_train_begin(self):
            seen.append(("begin", self.model is model))

        def on_epoch_begin(self, epoch, logs=None):
            seen.append((epoch, logs))

        def on_batch_end(self, batch):
            seen.append(batch)

        def on_epoch_end(self, epoch, logs=None, *, more=3):
            seen.append((epoch, sorted(logs), more))

        def on_train_end(self, *logs):
            seen.append(len(logs))

    model = make()
    model.fit(X, Y, callbacks=Short(), verbose=0)
    assert seen == [("begin", True), (0, {}), 0, (0, ["accuracy", "loss"], 3), 1]


def test_a_hook_that_needs_more_is_an_error_before_anything():
    model = make()
    for hook in (lambda epoch, logs, more: 0, lambda *, logs: 0):
        with pytest.raises(
            TypeError, match=r"LambdaCallback.on_epoch_end: expected the parameters \(epoch, logs\), got"
        ):
            model.fit(X, Y, callbacks=[callbacks.LambdaCallback(on_epoch_end=hook)], verbose=0)
    assert not model.built
    counts = callbacks.LambdaCallback(on_epoch_end=dict)  # has no signature to look at
    with pytest.raises(TypeError, match="dict expected at most 1 argument"):
        model.fit(X, Y, callbacks=[counts], verbose=0)


def test_a_misspelt_hook_is_an_error_in_the_class():
    message = r"Late.on_epoch_ends is no hook, and would never be called. Did you mean 'on_epoch_end'\? The hooks: on_b"
    with pytest.raises(TypeError, match=message):

        class Late(callbacks.EarlyStopping):
            def on_epoch_ends(self, epoch, logs):
                pass

    class Mixin:
        def on_bath_end(self, batch, logs):
            pass

    with pytest.raises(TypeError, match="Did you mean 'on_batch_end'"):
        type("Mixed", (Mixin, md.Callback), {})

    class Fine(md.Callback):
        on_disk = True

        def _on_click(self):
            pass

    with pytest.raises(
        TypeError, match=r"LambdaCallback takes no keyword 'on_epoch_ends'. Did you mean 'on_epoch_end'"
    ):
        callbacks.LambdaCallback(on_epoch_ends=print)


def test_hooks_of_evaluate():
    seen, ends = [], []

    class Ends(md.Callback):
        def on_test_batch_end(self, batch, logs=None):
            ends.append(logs)

        def on_test_end(self, logs=None):
            ends.append(logs)

    model = make().build(3)
    several = [noting(seen, *HOOKS), Ends()]
    logs = model.evaluate(X, Y, batch_size=8, callbacks=several)
    assert seen == [("on_test_begin",), *batches("test", 3), ("on_test_end",)]
    parts = [dict(model.evaluate(X[:m], Y[:m])) for m in (8, 16, 20)]
    assert several[1].params == {"steps": 3, "batch_size": 8}
    assert several[1].model is model
    assert ends[3] == dict(logs)
    for part, end in zip(parts, ends[:3], strict=True):
        assert end == pytest.approx(dict(part), rel=1e-6)


def test_what_is_added_to_the_logs_of_an_evaluation_is_not_in_its_result():
    model = make().build(3)
    adds = callbacks.LambdaCallback(on_test_end=lambda logs: logs.clear())
    assert list(model.evaluate(X, Y, callbacks=[adds]).keys()) == ["loss", "accuracy"]


@pytest.mark.parametrize(
    ("n", "size"), [(20, 8), (20, 20), (20, 1), (5000, 1024), (5000, 3000), (5000, 5000), (5000, 7)]
)
def test_batches_of_evaluate_and_predict(n, size):
    """Whatever the blocks and slices in which they are computed; with the same bits as without callbacks."""
    x, y = np.random.default_rng(1).normal(size=(n, 3)), np.arange(n) % 2
    model, seen, outputs = make().build(3), [], []
    keep = callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: outputs.append(logs["outputs"]))
    both = [noting(seen, *HOOKS), keep]
    assert dict(model.evaluate(x, y, batch_size=size, callbacks=both)) == dict(model.evaluate(x, y, batch_size=size))
    result = model.predict(x, batch_size=size, callbacks=both)
    assert result.tobytes() == model.predict(x, batch_size=size).tobytes()
    count = -(-n // size)
    expected = []
    for what in ("test", "predict"):
        expected += [(f"on_{what}_begin",), *batches(what, count), (f"on_{what}_end",)]
    assert seen == expected
    assert [len(rows) for rows in outputs[:-1]] == [size] * (count - 1)
    assert np.array_equal(np.concatenate(outputs), result)
    assert not outputs[0].flags.writeable
    assert result.flags.writeable
    assert keep.params == {"steps": count, "batch_size": size}


def test_batch_hooks_are_called_by_the_thread_that_called():
    threads = set()
    note = callbacks.LambdaCallback(
        **{f"on_{what}_batch_end": lambda *_: threads.add(threading.get_ident()) for what in ("test", "predict")}
    )
    x = np.random.default_rng(1).normal(size=(20_000, 300))
    model = md.Sequential([md.Dense(300), md.Dense(2)], rng=0).compile().build(300)
    assert model.network.helpers_for(len(x), 2)
    model.evaluate(x, np.arange(len(x)) % 2, callbacks=[note])
    model.predict(x, callbacks=[note])
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("what", ["train", "test", "predict"])
def test_those_that_have_begun_are_ended_whatever_fails(what):
    """Also when another one's on_..._begin or on_..._end fails; the error is the first one."""
    seen = []
    calls = {
        "train": lambda c: make().fit(X, Y, callbacks=c, verbose=0),
        "test": lambda c: make().build(3).evaluate(X, Y, callbacks=c),
        "predict": lambda c: make().build(3).predict(X, callbacks=c),
    }

    def callback(name, fails=""):
        def hook(when):
            def note(logs):
                seen.append((name, when))
                if when == fails:
                    raise KeyError(name)

            return note

        return callbacks.LambdaCallback(**{f"on_{what}_{when}": hook(when) for when in ("begin", "end")})

    with pytest.raises(KeyError, match="b"):
        calls[what]([callback("a"), callback("b", "begin"), callback("c")])
    assert seen == [("a", "begin"), ("b", "begin"), ("a", "end")]
    seen.clear()
    with pytest.raises(KeyError, match="a"):
        calls[what]([callback("a", "end"), callback("b")])
    assert seen == [("a", "begin"), ("b", "begin"), ("a", "end"), ("b", "end")]


def test_blocks_have_at_least_one_step():
    """Also where a batch is larger than a block."""
    seen = []
    x, y = np.random.default_rng(1).normal(size=(10_000, 40)), np.arange(10_000) % 2
    count = callbacks.LambdaCallback(on_block_end=lambda steps, logs: seen.append(steps))
    for size in ("full", 4000, 100):
        seen.clear()
        make().fit(x, y, batch_size=size, callbacks=[count], verbose=0)
        assert min(seen) > 0
        assert sum(seen) == {"full": 1, 4000: 3, 100: 100}[size]


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
    assert seen == [{name: values[-1] for name, values in model.history.history.items()}, "raised"]
    assert len(model.history.epoch) == 1


def test_only_hooks_that_are_overridden_are_called():
    class Ends(md.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["seen"] = epoch

    several = CallbackList([Ends(), callbacks.LambdaCallback()])
    assert not several.per_batch
    assert not several.saves
    wanted = [several.wants(hook) for hook in ("on_epoch_end", "on_train_batch_end", "on_train_begin")]
    assert wanted == [True, False, False]
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
    one = callbacks.EarlyStopping()
    assert [CallbackList(few).given for few in (one, [one], (one,), None)] == [[one], [one], [one], []]
    for wrong in ({}, "EarlyStopping", 3):
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
        "History": callbacks.History,
        "KeepBest": callbacks.KeepBest,
        "LambdaCallback": callbacks.LambdaCallback,
        "TerminateOnNaN": callbacks.TerminateOnNaN,
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
    assert list(states[1]["saved"]) == ["best", "best_of", "wait", "best_epoch", "_kept", "stopped_epoch", "told"]


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


def test_blocks_are_all_steps_of_an_epoch_and_params_say_what_is_run():
    class Blocks(md.Callback):
        def __init__(self):
            self.steps, self.of_predict = [], None

        def on_block_end(self, steps, logs=None):
            self.steps.append(steps)

        def on_predict_begin(self, logs=None):
            self.of_predict = dict(self.params)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5000, 60)), rng.integers(0, 2, 5000)
    blocks, model = Blocks(), md.Sequential([md.Dense(2)], rng=0).compile()
    history = model.fit(x, y, batch_size=8, epochs=2, callbacks=[blocks], verbose=0)
    assert len(blocks.steps) > 4
    assert sum(blocks.steps) == 2 * 625
    assert history.params == {"epochs": 2, "steps": 625, "batch_size": 8}
    model.predict(x, batch_size=700, callbacks=[blocks])
    assert blocks.of_predict == {"steps": 8, "batch_size": 700}


def test_keras_setters_are_called_before_the_hooks():
    seen = []

    class Own(md.Callback):
        def set_model(self, model):
            super().set_model(model)
            seen.append("model")

        def set_params(self, params):
            self.mine = params
            seen.append("params")

        def on_train_begin(self, logs):
            seen.append(("begin", self.mine["epochs"], self.model.built))

    make().fit(X, Y, callbacks=[Own()], verbose=0)
    assert seen == ["model", "params", ("begin", 1, True)]
