#!/bin/busybox sh
# Process 1 of a virtual machine of the kernel matrix: mounts, the check, power off. Its output is the serial console.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tracefs trace /sys/kernel/tracing
/bin/busybox mount -t cgroup2 cgroup /sys/fs/cgroup
/bin/busybox ip link set lo up
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
PATH=/usr/bin:/bin HOME=/tmp /bin/guest-init
/bin/busybox poweroff -f
