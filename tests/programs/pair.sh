# A service of two processes: `sh pair.sh NAME` announces NAME and its child NAME-child, logs "up", and waits.
announce() {
    read -r line </proc/$$/stat
    # shellcheck disable=SC2086 # the fields after the program's name, which may hold spaces
    set -- "$1" ${line##*) }
    echo "$1 $$ ${21} 0" >>"$STAGE/announced"
}
announce "$1"
if [ "$2" ]; then
    echo up
    exec sleep 86400
fi
sh pair.sh "$1-child" child &
wait
