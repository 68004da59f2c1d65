#!/bin/sh
# The lab's network, in a namespace with no way out: br0 192.168.10.1/24 with tap0 to tap11.
# Then it stays, as the namespace lives as long as this container.
set -eu

ip link set lo up
# A fixed address: a bridge otherwise takes its lowest port's.
ip link add br0 address 52:54:00:00:00:01 type bridge forward_delay 0
ip address add 192.168.10.1/24 dev br0
# One end of a cable as a port: br0 has a link before the first machine is on.
ip link add cable0 type veth peer name cable1
ip link set cable0 up
ip link set cable1 master br0 up
ip link set br0 up
for number in 0 1 2 3 4 5 6 7 8 9 10 11; do
    ip tuntap add "tap$number" mode tap
    ip link set "tap$number" master br0 up
done
# tests/lab/lab.py waits for this line.
echo 'lab: the network is up'
exec sleep infinity
