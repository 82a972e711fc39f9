#!/bin/bash
# Print what docs/recovery.md shows: a drill is killed with SIGKILL while a client asks, and recovered from elsewhere.
# Run: bash docs/killed.sh one|two   (root; brings up a lab and removes it)
set -u
cd "$(dirname "$0")/.." || exit
export NO_COLOR=1 COLUMNS=110
folder=$(mktemp -d)
drillctl=$PWD/.venv/bin/drillctl url=http://198.18.77.10
asking='' drill=''
finish() {
    for pid in $asking $drill; do kill -9 "$pid" 2>/dev/null; done
    "$drillctl" lab down >/dev/null 2>&1
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 143' TERM INT

ask() { while :; do printf '%s  ' "$(date +%T)" && curl -s -m 2 -o /dev/null -w '%{http_code}  %header{x-served-zone}\n' "$url/info"; sleep 1; done; }
ready() { curl -sf -m 1 -o /dev/null "http://$1:8080/health"; }
show() { printf '\n$ %s\n' "$*" && "$@" 2>&1; }

"$drillctl" lab up >/dev/null 2>&1 || exit
for host in zone-a-1 zone-b-1; do "$drillctl" lab root "$host" -- systemctl start inference; done
until ready 198.18.77.11 && ready 198.18.77.12; do sleep 0.2; done
export DRILLCTL_HOME=$folder/here
step=fault && [ "$1" = one ] || step=switch
ask >"$folder/client" 2>&1 &
asking=$!
"$drillctl" run zone-failover --lab --yes >"$folder/out" 2>"$folder/err" &
drill=$!
until grep -q "\"event\": \"outcome\", \"step\": \"$step\"" "$folder"/here/runs/*/journal.jsonl 2>/dev/null; do sleep 0.01; done
kill -9 $drill
killed=$(date +%T)
wait $drill 2>/dev/null
echo "The drill, killed at $killed after \`$step\`:"
tail -n 6 "$folder/err"
if [ "$1" = one ]; then
    sleep 2
    show "$drillctl" lease show --lab
    until ready 198.18.77.11; do sleep 0.2; done
    sleep 5
    show "$drillctl" lease show --lab
    show "$drillctl" recover --lab
    show "$drillctl" status --lab
else
    # Another checkout, with no journal.
    export DRILLCTL_HOME=$folder/elsewhere
    cd "$folder" || exit
    show "$drillctl" lease show --inventory /run/drillctl-lab/inventory.yaml
    show "$drillctl" recover --inventory /run/drillctl-lab/inventory.yaml
    show "$drillctl" recover --inventory /run/drillctl-lab/inventory.yaml
fi
printf '\nThe client, from 5 s before:\n'
kill $asking
awk -v from="$(date -d "today $killed 5 seconds ago" +%T)" '$1 >= from' "$folder/client"
