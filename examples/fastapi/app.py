"""A web service in front of a private model: clients of the house speak HTTP, and values leave it as shares alone.

    pip install -c constraints.txt '.[examples]'
    python examples/fastapi/app.py --config cluster.yaml       # and, in another terminal:
    curl localhost:8000/predict -H 'content-type: application/json' -d '{"instances": [[0.1, 0.2, 0.3]]}'

Whoever runs this sees what it is asked: it is for those whose data it is, on a machine of theirs, behind whatever
authenticates their users. The three parties see none of it, and neither does the model's owner.

One `AsyncClient` serves all requests. It is made when the app starts, keeps its connections, and sends what comes at
the same time side by side; the parties put it into common runs. So one process answers many users. Needs no TensorFlow.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

import keras_private as kp
from keras_private.client.target import Cluster
from keras_private.errors import InputError, LinkTimeoutError, QuotaError, RangeError, RefusedError

MOST_ROWS = 1024
"""Of one request."""


def make_app(cluster: Cluster, *, timeout: float = 30.0, **target: Any) -> FastAPI:
    """The app.

    Args:
        timeout: seconds that a request may wait for its answer.
        target: which model is meant and who asks, as for `AsyncClient`: model="digits", owner="alice", name="bob".
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with kp.AsyncClient(cluster, timeout=timeout, **target) as client:  # starts only if the model is there
            app.state.client = client
            yield

    app = FastAPI(title="Private predictions", lifespan=lifespan)

    @app.post("/predict")
    async def predict(request: Request, instances: Annotated[Any, Body(embed=True)]) -> dict[str, Any]:
        """`instances`: rows as nested lists; of several inputs a mapping of such by name."""
        answer = await request.app.state.client.query(_arrays(instances))
        return {"predictions": _lists(answer)}

    @app.get("/model")
    async def model(request: Request) -> dict[str, Any]:
        client: kp.AsyncClient = request.app.state.client
        inputs, outputs = client.inputs or (), client.outputs or ()
        return {
            "inputs": [{"name": port.name, "shape": port.shape} for port in inputs],
            "outputs": [{"name": port.name, "shape": port.shape} for port in outputs],
            "digest": client.digest,
        }

    @app.get("/readyz")
    async def readyz(request: Request) -> dict[str, bool]:
        if not request.app.state.client.connected:
            raise HTTPException(503, "not connected to the three parties; the next query connects")
        return {"ready": True}

    @app.exception_handler(kp.KerasPrivateError)
    async def failed(_: Request, error: kp.KerasPrivateError) -> JSONResponse:
        again = {"retry-after": str(math.ceil(error.after or 1))} if error.transient else None
        return JSONResponse({"detail": str(error)}, status_of(error), again)

    return app


def status_of(error: kp.KerasPrivateError) -> int:
    """What HTTP calls it."""
    if isinstance(error, InputError | RangeError):
        return 422
    if isinstance(error, QuotaError):
        return 429
    if isinstance(error, LinkTimeoutError):
        return 504
    if isinstance(error, RefusedError) and not error.transient:
        return 502
    return 503


def _arrays(instances: Any) -> Any:
    """Raises HTTPException: they are none."""
    if isinstance(instances, Mapping):
        return {str(name): _arrays(each) for name, each in instances.items()}
    try:
        array = np.asarray(instances)
    except ValueError:
        raise HTTPException(422, "instances: rows of different shapes") from None
    if array.ndim and len(array) > MOST_ROWS:
        raise HTTPException(413, f"up to {MOST_ROWS} rows a request, not {len(array)}")
    return array


def _lists(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return {name: _lists(each) for name, each in answer.items()}
    return [_lists(each) for each in answer] if isinstance(answer, list | tuple) else answer.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("cluster.yaml"), help="the parties (cluster.yaml)")
    parser.add_argument("--model", default="", help="what its owner calls it (default: the default model)")
    parser.add_argument("--name", default="client", help="who asks: the name in the certificate")
    parser.add_argument("--port", type=int, default=8000, help="where it listens, on this machine alone")
    args = parser.parse_args()
    app = make_app(kp.TFECluster.from_yaml(args.config), model=args.model, name=args.name)
    uvicorn.run(app, host="127.0.0.1", port=args.port)


if __name__ == "__main__":
    main()
