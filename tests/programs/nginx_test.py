#!/usr/bin/python3 -B
"""nginx, two workers under load from wrk while its configuration is reloaded 20 times.

Oracle: every answer 2xx with the right body, each reload takes effect, no worker ends by a signal, the log has no
alert, the server ends with 0 when asked to. Each reload parses the configuration in the master, forks new workers from
its heap and lets the old ones drain: pools made by posix_memalign, freed wholesale.
"""

import gzip
import hashlib
import os
import re
import signal
import urllib.request

import harness
import text_source

kReloads = 20 * harness.kRounds
kSizes = {"empty": 0, "small.txt": 300, "page.html": 20000, "large.bin": 3 << 20}

kConfiguration = """
{user} worker_processes 2; daemon off; pid nginx.pid; error_log error.log notice;
events {{ worker_connections 512; }}
http {{
  access_log access.log combined buffer=32k; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi; proxy_cache_path cache keys_zone=zone:1m;
  types {{ text/html html; text/plain txt; }}
  gzip on; gzip_types text/plain; gzip_min_length 100; open_file_cache max=100; keepalive_requests 1000;
  map $uri $kind {{ default other; {maps} }}
  upstream self {{ server unix:upstream.sock; }}
  server {{
    listen 127.0.0.1:{port}; listen unix:upstream.sock; root {root};
    location = /generation {{ return 200 "{generation}"; }}
    location /proxied/ {{ proxy_pass http://self/; proxy_buffers 4 8k; }}
    location /cached/ {{ proxy_pass http://self/; proxy_cache zone; proxy_cache_valid 200 1m; }}
    location ~ ^/rewrite/(?<name>[a-z.]+)$ {{ rewrite ^ /$name last; }}
    {locations}
  }}
}}
"""


class Nginx:
    def __init__(self, trial, preloaded):
        self.trial, self.program = trial, trial.program("/usr/sbin/nginx", "nginx")
        trial.fresh_run()
        os.mkdir(os.path.join(trial.cwd, "root"))
        self.bodies = {}
        for name, size in kSizes.items():
            self.bodies[name] = text_source.words(size) if size else b""
            with open(os.path.join(trial.cwd, "root", name), "wb") as file:
                file.write(self.bodies[name])
        while True:  # until we had the port to ourselves
            self.port = harness.free_port()
            self.configure(0)
            self.server = trial.start([self.program, "-p", trial.cwd, "-c", "nginx.conf", "-e", "error.log"], preloaded,
                                      name="server")
            trial.doing = "waiting until nginx answers"
            while self.server.poll() is None and self.generation() != 0:
                pass
            if self.server.poll() is None:
                break
            if b"Address already in use" not in trial.output(self.server, "err"):
                raise harness.Failure(f"nginx ended:\n{harness.tail(trial.output(self.server, 'err'))}")
        self.preloaded = preloaded
        self.check_mapped()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def configure(self, generation):
        text = kConfiguration.format(
            user="user nobody nogroup;" if os.geteuid() == 0 else "", port=self.port, root=self.trial.cwd + "/root",
            generation=generation, maps=" ".join(f"/m{i}x{generation} v{i};" for i in range(200)),
            locations="\n".join(f"location /l{i}/ {{ return 204; }}" for i in range(100 + generation % 7 * 20)))
        with open(os.path.join(self.trial.cwd, "nginx.conf"), "w", encoding="ascii") as file:
            file.write(text)

    def generation(self):
        body = harness.fetch(self.url("generation"))
        return int(body) if body else None

    def workers(self):
        return [int(pid) for pid in harness.read(f"/proc/{self.server.pid}/task/{self.server.pid}/children").split()]

    def check_mapped(self):
        if self.preloaded:
            self.trial.check_mapped(self.server.pid)
            for pid in self.workers():
                try:
                    self.trial.check_mapped(pid)
                except (FileNotFoundError, ProcessLookupError):
                    pass  # an old worker that has just drained

    def reload(self, generation):
        self.configure(generation)
        self.trial.run([self.program, "-p", self.trial.cwd, "-c", "nginx.conf", "-e", "error.log", "-s", "reload"], self.preloaded,
                       name="reload")
        self.trial.wait_until(lambda: self.generation() == generation, f"reload {generation} takes effect", self.server)

    def check_answers(self):
        """A digest of every kind of answer: plain, compressed, proxied, cached, rewritten, ranges."""
        digest = hashlib.sha256()
        for prefix in "", "proxied/", "cached/", "cached/", "rewrite/":
            for name, body in self.bodies.items():
                answer = harness.fetch(self.url(prefix + name))
                if answer != body:
                    raise harness.Failure(f"{prefix}{name}: wrong body, {len(answer or b'')} bytes of {len(body)}")
        for headers in {"Accept-Encoding": "gzip"}, {"Range": "bytes=100-9999"}:
            request = urllib.request.Request(self.url("page.html"), headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                got = answer.read()
                got = gzip.decompress(got) if "Accept-Encoding" in headers else got
                digest.update(got)
                if got not in self.bodies["page.html"]:
                    raise harness.Failure(f"wrong body with {headers}")
        if harness.fetch(self.url("l7/")) != b"":
            raise harness.Failure("location l7")
        return digest.hexdigest()

    def stop(self):
        self.trial.stop(self.server, signal.SIGQUIT)
        log = harness.read(os.path.join(self.trial.cwd, "error.log")).decode(errors="replace")
        self.trial.check_silent(log.encode(), "error.log")
        bad = [line for line in log.splitlines() if re.search(r"\[(alert|emerg|crit|error)\]|on signal|exited with code [1-9]", line)]
        # wrk hangs up at its end, and what it asked for last may be passed on when the socket has gone with the stop.
        late = [line for line in bad if "connect() to unix:upstream.sock failed (2:" in line]
        bad = [line for line in bad if line not in late]
        if bad:
            raise harness.Failure("nginx log:\n" + "\n".join(bad[:10]))
        statuses = re.findall(r'HTTP/1\.[01]" (\d{3}) ', harness.read(os.path.join(self.trial.cwd, "access.log")).decode())
        wrong = [status for status in statuses if not status.startswith("2") and status != "499"]  # 499: wrk hung up at its end
        for _ in late:
            if "502" in wrong:
                wrong.remove("502")
        if wrong or not statuses:
            raise harness.Failure(f"{len(wrong)} of {len(statuses)} answers not 2xx: {sorted(set(wrong))}")
        return len(statuses)


def nginx(trial):
    wrk = trial.program("/usr/bin/wrk", "wrk")
    digests = []
    for preloaded in False, True:
        server = Nginx(trial, preloaded)
        digests.append(server.check_answers())
        if preloaded:
            load = [trial.start([wrk, "-t1", "-c20", f"-d{4 * harness.kRounds}s", server.url(path)], False, name=f"wrk{i}")
                    for i, path in enumerate(("page.html", "proxied/small.txt"))]
            for generation in range(1, kReloads + 1):
                server.reload(generation)
                server.check_mapped()
            digests.append(server.check_answers())
            for child in load:
                trial.doing = "wrk"
                output = trial.finish(child).out.decode()
                if "Non-2xx" in output or not re.search(r"[1-9]\d* requests in", output):
                    raise harness.Failure(f"wrk: {output}")
                print("ok: wrk: " + re.search(r"\d+ requests in.*", output)[0])
            trial.check_witnesses([w for w in trial.witnesses() if "wrk" not in w[1]], server.program, at_least=1 + kReloads)
        print(f"ok: {server.stop()} answers, {kReloads if preloaded else 0} reloads", flush=True)
    if len(set(digests)) != 1:
        raise harness.Failure("answers differ")


harness.main(nginx)
