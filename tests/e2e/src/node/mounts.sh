# The mounts of a node; runs inside of its namespaces.
#   $0 its name   $1 the folder of files that survive a boot   $2 first|again
#   $3 a line for each cgroup hierarchy: path, type, options
set -eu
name=$0 disk=$1 boot=$2 hierarchies=$3

hostname "$name"

# The inherited /sys shows the network interfaces of the host.
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
# Mounted in this cgroup namespace, the root of each is the node's own cgroup.
printf '%s' "$hierarchies" | while read -r path type options; do
    mkdir -p "$path"
    mount -t "$type" -o "$options" "$type" "$path"
done
mount -t bpf bpf /sys/fs/bpf

# Nothing that the node writes reaches the host's own files.
for path in etc var; do
    mkdir -p "$disk/$path/upper" "$disk/$path/work"
    mount -t overlay overlay \
        -o "lowerdir=/$path,upperdir=$disk/$path/upper,workdir=$disk/$path/work" "/$path"
done
mkdir -p "$disk/opt" "$disk/containerd" "$disk/kubelet" "$disk/boot"
mount --bind "$disk/opt" /opt
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
if [ "$boot" = first ]; then
    # The host may have files of another cluster.
    rm -rf /etc/cni /etc/kubernetes /etc/containerd /var/lib/cni /var/lib/weir
fi
# An overlay cannot be the upper layer of containerd's overlays.
for path in containerd kubelet; do
    mkdir -p "/var/lib/$path"
    mount --bind "$disk/$path" "/var/lib/$path"
done

# The kubelet writes these settings, which belong to the whole host. Here it reads the value that it
# would write.
for setting in kernel/panic=10 kernel/panic_on_oops=1 vm/overcommit_memory=1; do
    file=$disk/boot/$(basename "${setting%=*}")
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
if [ "$boot" = again ]; then
    # A boot has an id and a time.
    cat /proc/sys/kernel/random/uuid >"$disk/boot/boot_id"
    mount --bind "$disk/boot/boot_id" /proc/sys/kernel/random/boot_id
    sed "s/^btime .*/btime $(date +%s)/" /proc/stat >"$disk/boot/stat"
    mount --bind "$disk/boot/stat" /proc/stat
fi

# Mounts that the node makes later must reach the pods' mount namespaces.
mount --make-rshared /
