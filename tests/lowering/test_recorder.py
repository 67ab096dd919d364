"""The recorder as a protocol object of TF Encrypted: types, names, layouts, and what it cannot record."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.lowering import tfe
from keras_private.lowering.recorder import Recorder
from keras_private.plan.evaluate import evaluate

X = np.random.default_rng(5).normal(size=(2, 3, 4, 5))


@pytest.fixture
def prot() -> Recorder:
    return Recorder((3, 4, 5))


def test_it_is_a_protocol_of_tf_encrypted(prot: Recorder) -> None:
    library = tfe.load()
    before = library.get_protocol()
    assert isinstance(prot, library.protocol.Protocol)
    with prot:
        assert library.get_protocol() is prot
        assert library.relu(prot.input).shape == (None, 3, 4, 5)
        weight = library.define_private_variable(np.ones(5))
        assert isinstance(prot.input, library.protocol.TFEPrivateTensor)
        assert isinstance(weight, library.protocol.TFEPrivateVariable)
        assert isinstance(library.define_constant(1.0), library.protocol.TFEPublicTensor)
    assert library.get_protocol() is before


def test_operators(prot: Recorder) -> None:
    x = prot.input
    draft = prot.finish(2 * (1 - x) + (x - 3) / 4 - (-x) * np.arange(5.0))
    np.testing.assert_allclose(evaluate(draft, X), 2 * (1 - X) + (X - 3) / 4 + X * np.arange(5.0))


def test_secret_and_public_factors(prot: Recorder) -> None:
    """A weight is recorded as a weight, a public constant as part of the plan."""
    secret = prot.define_private_variable(np.arange(5.0), name="secret")
    draft = prot.finish(prot.mul(prot.mul(prot.input, secret), prot.define_constant(np.full((1, 3, 1, 1), 2.0))))
    assert [op.kind for op in draft.plan.ops] == ["mul", "scale"]
    assert list(draft.plan.weights) == ["secret"]
    np.testing.assert_allclose(evaluate(draft, X), X * np.arange(5.0) * 2)


def test_a_public_matrix(prot: Recorder) -> None:
    matrix = np.arange(10.0).reshape(5, 2)
    draft = prot.finish(prot.matmul(prot.input, prot.define_constant(matrix)))
    assert [op.kind for op in draft.plan.ops] == ["public_matmul"]
    np.testing.assert_allclose(evaluate(draft, X), X @ matrix)


def test_slices_splits_and_stacks(prot: Recorder) -> None:
    x = prot.input
    some = prot.strided_slice(x, [0, 1, 0, 0], [0, 3, 9, 4], [1, 1, 2, 3], begin_mask=1, end_mask=5)
    np.testing.assert_array_equal(evaluate(prot.finish(some), X), X[:, 1:3, ::2, :4:3])
    first, second, third = prot.split(x, 3, axis=1)
    np.testing.assert_array_equal(
        evaluate(prot.finish(prot.stack([third, first], -1)), X), np.stack([X[:, 2:], X[:, :1]], -1)
    )
    one, four = prot.split(second, [1, 4], axis=-1)
    np.testing.assert_array_equal(evaluate(prot.finish(prot.concat([four, one], -1)), X), np.roll(X[:, 1:2], -1, -1))
    for wrong, reason in (
        (lambda: prot.split(x, 2, axis=1), "an axis of 3 cannot be split into 2 equal parts"),
        (lambda: prot.split(x, [1, 1], axis=1), r"an axis of 3 cannot be split into parts of \[1, 1\]"),
        (lambda: prot.split(x, 1), "batch axis"),
        (lambda: prot.stack([x, x], 0), "batch axis"),
        (lambda: prot.strided_slice(x, [0] * 4, [1, 3, 4, 5], [1] * 4), "batch axis"),
    ):
        with pytest.raises(PlanError, match=reason):
            wrong()


def test_elementwise(prot: Recorder) -> None:
    other = prot.transpose(prot.reshape(prot.input, [-1, 5, 4, 3]), [0, 3, 2, 1])
    draft = prot.finish(prot.maximum(prot.add_n([prot.input, prot.input, other]), prot.sub(other, 0.5)))
    turned = X.reshape(2, 5, 4, 3).transpose(0, 3, 2, 1)
    np.testing.assert_allclose(evaluate(draft, X), np.maximum(2 * X + turned, turned - 0.5))


def test_shapes(prot: Recorder) -> None:
    padded = prot.pad(prot.input, [[0, 0], [1, 0], [0, 0], [0, 2]])
    draft = prot.finish(prot.concat([padded, padded], axis=-2))
    padded_x = np.pad(X, [(0, 0), (1, 0), (0, 0), (0, 2)])
    np.testing.assert_array_equal(evaluate(draft, X), np.concatenate([padded_x, padded_x], axis=2))


def test_gather(prot: Recorder) -> None:
    kept = prot.gather(prot.input, [2, 0, 0], axis=-1)
    assert kept.shape == (*prot.input.shape[:-1], 3)
    (op,) = prot.finish(kept).plan.ops
    assert (op.kind, dict(op.attrs)) == ("gather", {"axis": len(kept.shape) - 2, "indices": (2, 0, 0)})
    with pytest.raises(PlanError, match="batch axis"):
        prot.gather(prot.input, [0], axis=0)


def test_the_batch_stays_where_it_is(prot: Recorder) -> None:
    for call in (
        lambda: prot.transpose(prot.input, [1, 0, 2, 3]),
        lambda: prot.concat([prot.input, prot.input], axis=0),
        lambda: prot.pad(prot.input, [[1, 0], [0, 0], [0, 0], [0, 0]]),
    ):
        with pytest.raises(PlanError, match="batch axis"):
            call()


def test_products_of_two_unknowns() -> None:
    prot = Recorder((3, 4))
    x = prot.input
    weight = prot.define_private_variable(np.ones((4, 2)))
    prot.mul(x, x)
    prot.matmul(x, prot.transpose(x, [0, 2, 1]))
    prot.einsum("bij,bkj->bik", x, x)
    prot.einsum("...j,jk->...k", x, weight)
    y = prot.einsum("jk,bij->bik", weight, x)
    assert y.shape == (None, 3, 2)
    ops = prot.finish(y).plan.ops
    assert [(op.kind, len(op.inputs), len(op.weights)) for op in ops] == [
        ("mul", 2, 0), ("transpose", 1, 0), ("matmul", 2, 0), ("einsum", 2, 0), ("einsum", 1, 1), ("einsum", 1, 1)
    ]  # fmt: skip
    with pytest.raises(PlanError, match="would mix the rows"):
        prot.einsum("bij,ckj->bic", x, x)


def test_padding_must_be_known(prot: Recorder) -> None:
    with pytest.raises(PlanError, match="SAME or VALID"):
        prot.avgpool2d(prot.input, (2, 2), (1, 1), "full")


def test_layers_name_ops_and_weights(prot: Recorder) -> None:
    with prot.layer("outer"):
        with prot.layer("outer/inner"):
            y = prot.add(prot.input, prot.define_private_variable(np.ones(5), name="bias"))
        y = prot.relu(y)
    plan = prot.finish(y).plan
    assert [op.layer for op in plan.ops] == ["outer/inner", "outer"]
    assert list(plan.weights) == ["outer/inner/bias"]


def test_reprs_hide_weights(prot: Recorder) -> None:
    weight = prot.define_private_variable(np.array([12345.678]), name="bias")
    assert "12345" not in repr(weight)
    assert "12345" not in repr(prot.finish(prot.add(prot.input, weight)))
