"""Inputs of many images for `reldn_d2.data.sources`: pictures, tables, archives, a web server."""

import http.server
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reldn_d2.data.sources import InputRow, Source


def picture(seed: int) -> bytes:
    """A small PNG file."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_pictures(folder: Path, number: int) -> list[Path]:
    """Writes 0.png, 1.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_bytes(picture(i))
    return paths


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], group: int = 100) -> Path:
    """Writes a Parquet file without compression, with a number of rows in each row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))
    pq.write_table(table, path, row_group_size=group, write_page_checksum=True, compression="none")
    return path


def write_archive(path: Path, samples: Sequence[Mapping[str, Any]]) -> Path:
    """Writes samples as WebDataset does."""
    import webdataset

    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(dict(sample))
    return path


def samples(number: int) -> list[dict[str, Any]]:
    """Samples with a picture and a JSON file."""
    return [{"__key__": f"k{i}", "png": picture(i), "json": {"number": i}} for i in range(number)]


def all_rows(source: Source, size: int = 100) -> list[InputRow]:
    """All rows of a source, in order."""
    return [row for unit in source.units(size) for row in source.rows(unit)]


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; `/endless.png`, whose content has no end; and `/refused.png`, which is."""

    def do_HEAD(self) -> None:
        if self.path == "/refused.png":
            self.send_error(403)
        else:
            super().do_HEAD()

    def do_GET(self) -> None:
        if self.path == "/refused.png":
            self.send_error(403)
            return
        if self.path != "/endless.png":
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            self.close_connection = True

    def copyfile(self, source: Any, outputfile: Any) -> None:
        # Who stops reading early is no error.
        try:
            super().copyfile(source, outputfile)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A server of the files of a folder. Gives its address, without a slash at the end."""
    handler = partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
