# Two stages: what installs and builds stays in the first.
FROM python:3.11-slim AS builder
WORKDIR /build
RUN python -m venv --without-pip /opt/smartstudy && python -m venv --without-pip /opt/build
COPY requirements.lock requirements-build.lock ./
RUN python -m pip --python /opt/smartstudy install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m pip --python /opt/build install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE alembic.ini smartstudy.py ./
COPY alembic alembic
COPY app app
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /wheel \
    && python -m pip --python /opt/smartstudy install --no-cache-dir --no-index --no-deps /wheel/*.whl

FROM python:3.11-slim
COPY --from=builder /opt/smartstudy /opt/smartstudy
RUN useradd --create-home smartstudy && install -d -o smartstudy /data /models
USER smartstudy
WORKDIR /home/smartstudy
ENV PATH=/opt/smartstudy/bin:$PATH HOST=0.0.0.0 PORT=4008 DATA_DIR=/data MODEL_DIR=/models
EXPOSE 4008
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/readyz')"]
CMD ["sh", "-c", "smartstudy migrate && exec smartstudy serve"]
