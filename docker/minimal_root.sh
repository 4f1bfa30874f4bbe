#!/bin/sh
# Makes the root folder of the image `runtime`: what of this system Python and a folder of packages need to run.
# usage: minimal_root.sh ROOT PACKAGES
set -eu
root=$1
packages=$2
python=$(readlink -f "$(command -v python3)")
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

copy() { tar --create --files-from=- 2> /dev/null | tar --extract --directory="$root"; }

mkdir -p "$root/etc"
install -d -m 1777 "$root/tmp" "$root/workspace"
echo 'seg:x:1000:1000::/workspace:/usr/sbin/nologin' > "$root/etc/passwd"
echo 'seg:x:1000:' > "$root/etc/group"

# What the image never uses stays out: the C library that Python's own module of ONNX Runtime holds once more, what that
# converts and quantizes with, tests, and the parts of the standard library that install, edit and draw windows.
find "$packages" -name 'libonnxruntime.so*' -delete
find "$packages" -path '*/onnxruntime/*' -type d \( -name transformers -o -name quantization -o -name tools \) -prune -exec rm -r {} +
find "$packages" -path '*/numpy/*' -type d -name tests -prune -exec rm -r {} +
find "$library" \( -name site-packages -o -name dist-packages -o -name test -o -name tests -o -name __pycache__ \
  -o -name idlelib -o -name tkinter -o -name ensurepip -o -name lib2to3 -o -name 'config-*' \) -prune -o ! -type d -print \
  | copy
printf '%s\n' "$(command -v python3)" "$python" /etc/ld.so.cache | copy

# The shared libraries that the interpreter and every compiled module ask for, links and the files behind them.
find "$python" "$library" "$packages" -type f \( -name '*.so' -o -name '*.so.*' -o -path "$python" \) -exec ldd {} + 2> /dev/null \
  | grep --only-matching '/[^ ]*\.so[^ ]*' | grep --invert-match "^$packages" | sort --unique | while read -r file; do
    if [ -f "$file" ]; then
      install -D --preserve-timestamps --mode=755 "$(readlink -f "$file")" "$root$file"
    fi
  done

python3 -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$root$library"
