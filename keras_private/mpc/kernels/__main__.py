"""`python -m keras_private.mpc.kernels`: compile the kernels into numba's cache."""

from keras_private.mpc.kernels import warm_up

if __name__ == "__main__":
    warm_up()
