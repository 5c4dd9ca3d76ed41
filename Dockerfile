# plif as a service: the runtime without PyTorch. Build it here, run it beside the camera:
#
#   docker build -t plif .
#   docker run --rm plif info
#
# docs/service.md has the whole command with camera, model, dashboard and restart policy.

FROM python:3.11-slim AS build
# a compiler for libplif, smaller than the one that pip would bring; it stays in this stage
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py build_backend.py build_sbom.py README.md LICENSE ./
COPY requirements requirements
COPY runtime runtime
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# every package by its hash (make lock): those that build plif, and plif[cpu,aedat4,dashboard]
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes -r requirements/build.txt \
    && /opt/build/bin/python -m build --no-isolation --wheel \
    && python -m venv /opt/plif \
    && /opt/plif/bin/python -m pip install --require-hashes -r requirements/image.txt \
    && /opt/plif/bin/python -m pip install --no-deps --no-index dist/plif-*.whl \
    && /opt/plif/bin/python -m pip check \
    && /opt/plif/bin/plif info

FROM python:3.11-slim
LABEL org.opencontainers.image.title="plif" \
      org.opencontainers.image.description="Streams events through spiking networks with PLIF neurons" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --create-home --home-dir /data --shell /usr/sbin/nologin plif \
    && install -d -o 10001 -g 10001 -m 700 /run/plif
COPY --from=build /opt/plif /opt/plif
ENV PATH=/opt/plif/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RUNTIME_DIRECTORY=/run/plif
USER 10001:10001
WORKDIR /data
EXPOSE 8080/tcp 3333/udp
# asks the dashboard; without --dashboard 0.0.0.0:8080 run the container with --no-healthcheck
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["plif"]
CMD ["info"]
