"""A server on this machine in the place of a data set's publisher."""

import contextlib
import http.server
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def serving(contents: dict[str, bytes]) -> Iterator[str]:
    """The address of a server that answers a path below it with ``contents[path]``, as they are at the time, else with 404."""

    class Served(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = contents.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
