#!/bin/sh
# brief.sh NAME SECONDS STATUS: announce NAME, from when the file `go` is there live for so long, say a last word and exit with that status.
name=$1 life=$2 status=$3
read -r up _ </proc/uptime
line=$(cat /proc/$$/stat)
# shellcheck disable=SC2086
set -- ${line##*) }
echo "$name $$ ${20} $up" >>"$STAGE/announced"
while [ ! -e go ]; do sleep 0.05; done
sleep "$life"
echo "last words of $name"
exit "$status"
