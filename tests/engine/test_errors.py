from __future__ import annotations

import pickle

from engine.errors import DataMissing, InputError, did_you_mean


def test_errors_travel_between_processes() -> None:
    for kind in (InputError, DataMissing):
        error = pickle.loads(pickle.dumps(kind("method.epsilon", -1, "a number >= 0")))
        assert type(error) is kind
        assert (error.name, error.value, error.legal) == ("method.epsilon", -1, "a number >= 0")
        assert str(error) == "method.epsilon: -1 is not legal: a number >= 0"


def test_did_you_mean() -> None:
    assert did_you_mean("lenet", ["lenet5", "lstm"]) == "did you mean 'lenet5'? known: lenet5, lstm"
    assert did_you_mean("resnet", ["lstm", "gru"]) == "known: gru, lstm"
