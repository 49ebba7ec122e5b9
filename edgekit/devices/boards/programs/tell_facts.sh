# tell_facts.sh WORKSPACE: what a phone without Python is, and in which state: whole files, each under its name.
for path in /proc/cpuinfo /proc/meminfo /proc/sys/kernel/arch /sys/class/thermal/thermal_zone*/temp \
    /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq; do
    if [ -r "$path" ]; then
        echo "== $path"
        cat "$path" 2>/dev/null
        echo
    fi
done
echo "== machine"
uname -m
echo "== kernel"
uname -r
echo "== model"
getprop ro.product.model 2>/dev/null
echo "== emulator"
getprop ro.boot.qemu 2>/dev/null
readlink /proc/thread-self/exe
echo "== room"
df -k "$1"
