"""`python -m keras_private.mpc.kernels`: compile the kernels into numba's cache."""

import sys

from keras_private.errors import ConfigError
from keras_private.mpc.kernels import warm_up

if __name__ == "__main__":
    try:
        warm_up()
    except ConfigError as error:
        sys.exit(f"keras_private.mpc.kernels: {error}")
