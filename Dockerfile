# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
ENV UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/hub UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv
WORKDIR /src
# Dependencies first: their layer is kept until the lock changes.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev --no-install-project
COPY README.md LICENSE ./
COPY hub hub
COPY adapters adapters
COPY config config
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev --no-editable

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data hub && install -d -m 0700 -o hub -g hub /data
COPY --from=build /opt/hub /opt/hub
# These win over hub.toml: what is published, mounted and asked for its health is the same whatever is set there.
ENV PATH=/opt/hub/bin:$PATH PYTHONUNBUFFERED=1 HUB_DATA=/data HUB_LISTEN__HOST=0.0.0.0 HUB_LISTEN__PORT=8080 \
  HUB_LOG_FORMAT=json
USER hub
# The hub reads hub.toml and .env here, if there are any.
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['HUB_LISTEN__PORT'] + '/healthz', timeout=2)"]
CMD ["hub", "serve"]
