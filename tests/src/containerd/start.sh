# The first process of a container runtime: alone in a PID namespace, in a mount namespace of its
# own. Makes the directories private that a runtime and its CNI library write to, then executes
# containerd.
set -eu
dir=$1
plugin=$2

# /proc is still that of the caller, so this is the process ID in the caller's namespace.
read -r pid _ </proc/self/stat
mount -t proc proc /proc

mount -t tmpfs tmpfs "$dir/private"
for path in etc opt var/lib; do
    upper=$dir/private/$path/upper
    work=$dir/private/$path/work
    mkdir -p "$upper" "$work"
    mount -t overlay overlay -o "lowerdir=/$path,upperdir=$upper,workdir=$work" "/$path"
done
mount -t tmpfs tmpfs /run

mkdir -p /etc/cni/net.d /opt/cni/bin
cp "$dir/network.conflist" /etc/cni/net.d/10-network.conflist
ln -s "$plugin" /opt/cni/bin/

echo "$pid" >"$dir/pid.new"
mv "$dir/pid.new" "$dir/pid"
exec containerd --config "$dir/config.toml" >"$dir/containerd.log" 2>&1
