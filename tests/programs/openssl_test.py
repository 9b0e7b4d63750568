#!/usr/bin/python3 -B
"""openssl: ciphers, digests, key and certificate handling, and a TLS server that serves threads of clients.

Oracle: output of everything deterministic equal to the control's (keys come from the inputs; RSA PKCS#1, Ed25519 and
HMAC signatures have no randomness); the TLS server answers every request, under the preload, and ends as asked.
"""

import signal
import socket
import ssl
import threading

import harness
import text_source

kScript = r"""
in=$1
for digest in md5 sha1 sha256 sha512 sha3-256 blake2b512 shake128; do
  case $digest in shake128) extra="-xoflen 32";; *) extra=;; esac
  openssl dgst -$digest $extra < "$in/text"
done
openssl dgst -sha256 -hmac key < "$in/text"
for cipher in aes-128-cbc aes-256-ctr chacha20 camellia-128-cbc aria-192-cbc; do
  openssl enc -$cipher -pbkdf2 -iter 500 -S 0102030405060708 -k secret < "$in/text" > $cipher.enc
  openssl enc -d -$cipher -pbkdf2 -iter 500 -S 0102030405060708 -k secret < $cipher.enc | cmp - "$in/text"
done
openssl base64 < "$in/text" | openssl base64 -d | cmp - "$in/text"
for key in rsa ed25519 ec; do
  openssl pkey -in "$in/$key.pem" -text -noout
  openssl pkey -in "$in/$key.pem" -pubout > $key.pub
done
openssl dgst -sha256 -sign "$in/rsa.pem" < "$in/text" > rsa.sig
openssl dgst -sha256 -verify rsa.pub -signature rsa.sig < "$in/text"
head -c 5000 "$in/text" > short
openssl pkeyutl -sign -rawin -inkey "$in/ed25519.pem" -in short -out ed25519.sig
openssl pkeyutl -verify -rawin -pubin -inkey ed25519.pub -in short -sigfile ed25519.sig
openssl pkeyutl -derive -inkey "$in/ec.pem" -peerkey ec.pub | openssl sha256
openssl x509 -in "$in/cert.pem" -noout -text
openssl verify -CAfile "$in/cert.pem" "$in/cert.pem"
openssl asn1parse -in "$in/cert.pem"
openssl crl2pkcs7 -nocrl -certfile "$in/cert.pem" | openssl pkcs7 -print_certs -text
openssl pkcs12 -export -in "$in/cert.pem" -inkey "$in/rsa.pem" -passout pass:x | openssl pkcs12 -passin pass:x -nodes
openssl smime -encrypt -binary -in short "$in/cert.pem" | openssl smime -decrypt -inkey "$in/rsa.pem" | openssl md5
openssl ciphers -v ALL | sort
openssl list -digest-algorithms | sort | wc -l
openssl prime -generate -bits 256 > prime.txt && openssl prime "$(cat prime.txt)" | sed 's/.* is/is/'
if openssl x509 -in rsa.pub 2> /dev/null; then exit 1; fi
"""


def make_keys(trial, program):
    """Keys and a certificate for both runs, made without the preload."""
    trial.fresh_run()
    for name, options in {"rsa": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "ed25519": ["ED25519"],
                          "ec": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}.items():
        made = trial.run([program, "genpkey", "-algorithm", *options], False)
        trial.write(f"{name}.pem", made.out)
    made = trial.run([program, "req", "-new", "-x509", "-key", f"{trial.inputs}/rsa.pem", "-subj", "/CN=localhost",
                      "-days", "30"], False)
    trial.write("cert.pem", made.out)


def serve_tls(trial, program):
    """s_server under the preload, 4 threads of 25 clients each, TLS 1.2 and 1.3 in turn."""
    while True:
        port = harness.free_port()
        server = trial.start([program, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{trial.inputs}/cert.pem",
                              "-key", f"{trial.inputs}/rsa.pem", "-www", "-quiet"], True)
        trial.doing = "waiting until s_server listens"
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 10).close()
                break
            except OSError:
                continue
        if server.poll() is None:
            break  # else: somebody took the port, the next one then
    trial.check_mapped(server.pid)
    answers, errors = [], []

    def client(versions):
        for version in versions:
            context = ssl.create_default_context(cafile=f"{trial.inputs}/cert.pem")
            context.minimum_version = context.maximum_version = version
            try:
                with socket.create_connection(("127.0.0.1", port), 60) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        answer = b""
                        while part := secure.recv(65536):
                            answer += part
                        answers.append(b"HTTP/1.0 200" in answer and b"</pre>" in answer.lower())
            except OSError as error:
                errors.append(str(error))

    trial.doing = "TLS clients at s_server"
    crew = [threading.Thread(target=client, args=([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3] * 13,)) for _ in range(4)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if errors or len(answers) != 104 or not all(answers):
        raise harness.Failure(f"TLS: {sum(answers)} good answers of 104, errors {errors[:3]}")
    if server.poll() is not None:
        raise harness.Failure(f"s_server ended: {server.returncode} {trial.output(server, 'err')[-500:]}")
    trial.stop(server, signal.SIGTERM, code=-signal.SIGTERM)
    print(f"ok: s_server, {len(answers)} TLS connections")


def openssl(trial):
    program = trial.program("/usr/bin/openssl", "openssl")
    trial.write("text", text_source.words(1 << 20))
    make_keys(trial, program)
    _, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), trial.inputs], outputs=["*.enc", "*.sig", "*.pub"])
    trial.check_witnesses(warren.witnesses, program, at_least=40)
    trial.fresh_run()
    trial.run([program, "speed", "-elapsed", "-multi", "2", "-bytes", "1024", "-seconds", "1", "sha256"], True)
    trial.run([program, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], True)
    serve_tls(trial, program)


harness.main(openssl)
