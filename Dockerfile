# The command `reldn` for a user without root rights: docker build --tag reldn . && docker run reldn --help
# docs/install.md has the arguments and what of this file was tried.

# A release of Python 3.11 for Debian. Append @sha256:... to pin the image itself.
ARG PYTHON=3.11-slim-bookworm
FROM python:${PYTHON}

# The lock file says which PyTorch is installed. That of PyPI, in lock.txt, runs on CPUs and NVIDIA GPUs.
ARG LOCK=requirements/lock.txt
# Index of another PyTorch, which LOCK names: only files with the hashes of LOCK are taken from there.
ARG TORCH_INDEX=

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

WORKDIR /opt/reldn
COPY requirements requirements
# Some requirements are source packages in plain Python. They are built with the setuptools that is pinned here.
RUN pip install --require-hashes --only-binary=:all: -r requirements/lock-build.txt \
    && pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --require-hashes --no-build-isolation -r "$LOCK"
# By force, as `make install` does: the wheel is tagged for another Python, because of a part that is not used.
RUN pip install --require-hashes --no-deps --upgrade --only-binary=:all: \
        --python-version 3.10 --implementation cp --abi none --platform any \
        --target "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
        -r requirements/detectron2.txt
COPY . .
RUN pip install --no-deps --no-build-isolation . \
    && rm -rf build ./*.egg-info

RUN useradd --create-home --uid 1000 reldn
USER 1000
WORKDIR /home/reldn
ENTRYPOINT ["reldn"]
