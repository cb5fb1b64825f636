# A service of two processes: `sh pair.sh NAME [WORD]` announces NAME and its child NAME-child, logs "up", and waits.
#
# gate      says "up" once the file `gate` exists
# stubborn  announces NAME-asked at TERM, and goes on
# slow      announces NAME-asked at TERM, and ends once the file `gate` exists
announce() {
    read -r line </proc/$$/stat
    # shellcheck disable=SC2086 # the fields after the program's name, which may hold spaces
    set -- "$1" ${line##*) }
    echo "$1 $$ ${21} 0" >>"$STAGE/announced"
}
name=$1
announce "$name"
case $name in
*-child)
    while [ "$2" = gate ] && ! [ -e gate ]; do sleep 0.02; done
    echo up
    exec sleep 86400
    ;;
esac
[ "$2" != stubborn ] || trap 'announce "$name-asked"' TERM
[ "$2" != slow ] || trap 'announce "$name-asked"; until [ -e gate ]; do sleep 0.02; done; exit' TERM
sh pair.sh "$name-child" "$2" &
wait
while [ "$2" = stubborn ]; do
    wait
    sleep 0.1
done
