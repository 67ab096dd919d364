"""What the tests of faults check in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_private.worker import TFEWorker


def goes_on(cluster: Any, tiny: Any, serving: Any) -> None:
    """The cluster still does its work."""
    with serving(cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        data = tiny.batch(2)
        np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
