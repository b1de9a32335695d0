"""Small matrices are fastest on one thread. BLAS and TensorFlow look when they are imported: import neither before."""

import os

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
}


def use_one_thread() -> None:
    """Hold this process to one thread of arithmetic; call it before anything imports NumPy."""
    os.environ.update(ONE_THREAD)
