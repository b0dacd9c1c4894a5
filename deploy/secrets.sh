#!/bin/sh
# Generates the secrets for compose.yaml and kubernetes/ in a new directory:
# sh secrets.sh DIR
set -eu
umask 077
directory=${1:-secrets}
mkdir "$directory"
cd "$directory"
postgres=$(openssl rand -hex 24)
openssl rand 32 >server.key
printf %s "$postgres" >postgres-password
cat >latchkey.yaml <<END
database: postgres://latchkey:$postgres@postgres:5432/latchkey?sslmode=disable
END
