#!/bin/sh
# Makes what compose.yaml and kubernetes/ want to have secret: sh secrets.sh DIR
# Nothing that is there is touched.
set -eu
umask 077
directory=${1:-secrets}
mkdir "$directory"
cd "$directory"
postgres=$(openssl rand -hex 24)
redis=$(openssl rand -hex 24)
openssl rand 32 >server.key
printf %s "$postgres" >postgres-password
cat >latchkey.yaml <<END
database: postgres://latchkey:$postgres@postgres:5432/latchkey?sslmode=disable
sessions: redis://:$redis@redis:6379
END
# It holds copies only: nothing is to be kept, and anything may be thrown out.
cat >redis.conf <<END
requirepass $redis
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
dir /tmp
END
