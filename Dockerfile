FROM python:3.11-slim
WORKDIR /srv/smartstudy
COPY requirements.lock pyproject.toml README.md ./
RUN python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY alembic.ini ./
COPY alembic alembic
COPY app app
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --create-home smartstudy \
    && install -d -o smartstudy /data /models
USER smartstudy
ENV HOST=0.0.0.0 DATA_DIR=/data MODEL_DIR=/models
EXPOSE 4008
CMD ["sh", "-c", "smartstudy migrate && exec smartstudy serve"]
