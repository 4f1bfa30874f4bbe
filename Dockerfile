# Images of seg; docs/deploy.md says how they are used.
#
#   docker build --target cpu -t seg:cpu .           everything, on the CPU (what is built where no target is named)
#   docker build --target cuda -t seg:cuda .         everything, on NVIDIA GPUs
#   docker build --target runtime -t seg:runtime .   predicts and evaluates with exported files: no torch, no shell

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
# Bytecode that is held to no time stamp: a layer rounds those of files, and half of it would be compiled at each start.
ENV PATH=/opt/uv/bin:$PATH UV_PYTHON=/opt/seg/bin/python UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir uv \
 && python3 -m venv --without-pip /opt/seg
WORKDIR /src
COPY pyproject.toml ./

# The packages that seg stands on make one layer, and seg itself another, small one.
FROM build AS cpu-packages
# Empty where the registry of everything else, or what uv is configured with, has torch without CUDA.
ARG TORCH="--torch-backend=cpu"
RUN uv pip install ${TORCH} -r pyproject.toml

FROM build AS cuda-packages
RUN uv pip install -r pyproject.toml

FROM build AS runtime-packages
COPY docker/minimal_root.sh ./
RUN uv pip install --group runtime \
 && ./minimal_root.sh /root-of-runtime /opt/seg

FROM build AS code
COPY README.md LICENSE ./
COPY configs configs
COPY segcli segcli
RUN uv pip install --no-deps --prefix /opt/code .

# Nothing but Python, the shared libraries that are loaded, and the packages.
FROM scratch AS runtime
LABEL org.opencontainers.image.title="seg runtime" org.opencontainers.image.licenses="MIT"
# numpy's linear algebra, which is not used here, would start a thread a core that waits by spinning.
ENV PATH=/opt/seg/bin HOME=/workspace USER=seg OPENBLAS_NUM_THREADS=1
COPY --from=runtime-packages /root-of-runtime /
COPY --from=runtime-packages /opt/seg /opt/seg
COPY --from=code /opt/code /opt/seg
WORKDIR /workspace
USER 1000:1000
HEALTHCHECK --interval=5m --timeout=30s CMD ["seg", "--version"]
CMD ["seg", "--help"]

FROM ${PYTHON} AS whole
ENV PATH=/opt/seg/bin:$PATH HOME=/workspace USER=seg
# Writable for every user, so that `docker run --user` can name the one whose files the results shall be.
RUN useradd --uid 1000 --home-dir /workspace --no-create-home seg \
 && install -d -m 1777 /workspace
WORKDIR /workspace
COPY --chown=1000:1000 configs configs
HEALTHCHECK --interval=5m --timeout=30s CMD ["seg", "--version"]
CMD ["seg", "--help"]

FROM whole AS cuda
LABEL org.opencontainers.image.title="seg" org.opencontainers.image.licenses="MIT"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=cuda-packages /opt/seg /opt/seg
COPY --from=code /opt/code /opt/seg
USER 1000:1000

FROM whole AS cpu
LABEL org.opencontainers.image.title="seg" org.opencontainers.image.licenses="MIT"
COPY --from=cpu-packages /opt/seg /opt/seg
COPY --from=code /opt/code /opt/seg
USER 1000:1000
