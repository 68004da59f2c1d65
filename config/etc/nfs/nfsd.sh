# The kernel's NFS server as a program in the foreground: nfsd.sh RUN RECORD ADDRESS
#
# Starts nfsd's threads on ADDRESS and exports what RUN/etc/nfs/exports lists; on SIGHUP it exports
# what was added there and ends what is gone, nothing else; on SIGTERM the threads end and then our
# exports. RECORD tells the next start which threads are ours, should this process be killed
# (appliance/nfs/kernel_server.py reads it).
set -u

run=$1 record=$2 address=$3
wanted=$run/etc/nfs/exports
exported=$run/nfs/exported # the lines of `wanted` that are in force

# All that come by standard input at once, as exportfs writes down what is left each time it is called.
end_exports() {
	sort -u | xargs -r -d '\n' exportfs -u
}

# A line of `wanted` changes its options in place: only what is named by none any more is ended.
update() {
	grep -v '^#' "$wanted" >"$run/nfs/wanted"
	sed 's/^[^ ]* //' "$run/nfs/wanted" >"$run/nfs/named"
	sed 's/^[^ ]* //' "$exported" | grep -vxF -f "$run/nfs/named" | end_exports
	grep -xF -f "$run/nfs/wanted" "$exported" >"$exported.new"
	grep -vxF -f "$exported" "$run/nfs/wanted" | while read -r options what; do
		# What fails has said so, and is tried again next time.
		exportfs -o "$options" "$what" && echo "$options $what" >>"$exported.new"
	done
	mv "$exported.new" "$exported"
}

# One at a time, as the shell lets a signal in between any two commands: what comes while a change is
# taken up is taken up after it.
take_up() {
	again=1
	while [ -n "$again" ] && [ -z "$busy" ]; do
		again='' busy=1
		update
		busy=''
	done
}

# The threads go first: to a machine a server that is silent is one that comes back, while an
# export that is gone is a stale root.
stop() {
	${sleeper:+kill "$sleeper"}
	rpc.nfsd 0
	# Now, as no threads of ours are left: those that are there from here on are the host's.
	rm -f "$record"
	# An update may be half done.
	cat "$exported" "$exported.new" 2>/dev/null | sed 's/^[^ ]* //' | end_exports
	rm -f "$exported" "$exported.new"
	exit 0
}

# Which threads are ours: in this boot and network namespace those that listen by socket $1, and are $2.
# By rename, as it is read after whatever happened.
note() {
	{
		cat /proc/sys/kernel/random/boot_id && stat -L -c %i /proc/self/ns/net && echo "$1" "$2"
	} >"$record.new" && mv "$record.new" "$record"
}

sleeper='' again='' busy=''
trap stop TERM INT
trap take_up HUP
touch "$exported" "$exported.new"
sort -u -o "$exported" "$exported" "$exported.new" # one that was killed may have been at it
take_up
note "$address:2049" starting || exit 1
# The kernel waits a second for nfsdcld, and gives no grace when that has no client on record.
rpc.nfsd --host "$address" || exit 1
# The host's server may have our address later, but no socket with the same inode.
socket=$(ss -Hlnte "src $address:2049" | grep -o "\bino:[1-9][0-9]*")
threads=$(awk '$1 == "th" { print $2 }' /proc/net/rpc/nfsd)
[ -z "$socket" ] || [ -z "$threads" ] || note "$socket" "$threads"
while :; do
	sleep infinity &
	sleeper=$!
	wait "$sleeper" # a signal ends the wait, not the sleep
	kill "$sleeper"
done
