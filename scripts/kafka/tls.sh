#!/usr/bin/env bash
# Certificates for the secure listeners of scripts/kafka.sh, created again each time.
#
#   scripts/kafka/tls.sh DIRECTORY
#
# ca.pem, and signed by it, each with its key in one file: secure.pem (127.0.0.1 and localhost), expired.pem (the same, over
# since 2021), misnamed.pem (for another host). other-ca.pem has signed nothing.
set -euo pipefail

into="${1:?where to?}"
command -v openssl >/dev/null || {
  printf 'tls: openssl is missing: make setup installs it\n' >&2
  exit 1
}
mkdir -p "$into"
cd "$into"

quiet() { "$@" 2>>openssl.log || {
  cat openssl.log >&2
  exit 1
}; }

authority() { # name
  quiet openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" -keyout "$1.key" -out "$1.pem"
}

# Only `openssl ca` can set a beginning and an end in the past.
cat >ca.cnf <<'CONF'
[ca]
default_ca = ours
[ours]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
CONF
: >index.txt
printf 'unique_subject = no\n' >index.txt.attr

server() { # name, subject alternative names, and the beginning and end of what it is good for
  quiet openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -addext "subjectAltName=$2" \
    -keyout "$1.key" -out "$1.csr"
  quiet openssl ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in "$1.csr" -out "$1.crt" \
    -startdate "$3" -enddate "$4"
  cat "$1.key" "$1.crt" ca.pem >"$1.pem"
}

here="IP:127.0.0.1,DNS:localhost"
from=$(date -u -d yesterday +%Y%m%d%H%M%SZ)
to=$(date -u -d '30 days' +%Y%m%d%H%M%SZ)
authority ca
authority other-ca
server secure "$here" "$from" "$to"
server expired "$here" 20200101000000Z 20210101000000Z
server misnamed "DNS:kafka.elsewhere.example" "$from" "$to"
