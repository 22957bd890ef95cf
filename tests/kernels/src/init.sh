#!/bin/busybox sh
# Runs the suites of /suites.list in a guest, and says how each ended. It is a child of the first
# process, which inherits the orphans of all others: a shell would not reap them.
# The first serial line is the kernel's, the second is for what is written here.

if [ $$ = 1 ]; then
    mkdir -p /etc
    echo "::sysinit:/init" >/etc/inittab
    exec /bin/busybox init
fi

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ WEIR_BIN_DIR=/weir NO_COLOR=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
# Nothing else loads it: it belongs to no device and no rule.
modprobe br_netfilter
exec </dev/null >/dev/ttyS1 2>&1

while read -r name arguments <&3; do
    echo "weir-guest: run $name"
    # Unquoted: words of the list are words of the command.
    "/suites/$name" $arguments
    status=$?
    echo "weir-guest: end $name $status"
    [ "$status" = 0 ] || dmesg | tail -n 100 >/dev/ttyS0
done 3</suites.list
echo "weir-guest: done"
poweroff -f
