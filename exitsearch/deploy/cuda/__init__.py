"""The CUDA session: a multi-exit model on a GPU, one CUDA graph for each fused segment and each head."""

from exitsearch.deploy.cuda.load import cuda_session, load_cuda_session
from exitsearch.deploy.cuda.session import CudaSession

__all__ = ["CudaSession", "cuda_session", "load_cuda_session"]
