#!/bin/sh
# Make a folder with include/ and lib/ of ONNX Runtime from packages of npm and PyPI.
#
#     sh onnxruntime_from_packages.sh FOLDER [PYTHON]
#
# The wheel of onnxruntime has the library, but no headers. A package of npm for Unity, under the MIT
# licence, holds Microsoft's headers unchanged. PYTHON is a Python that has onnxruntime installed.
set -eu
folder=$1
python=${2:-python3}
headers=com.github.asus4.onnxruntime@0.4.9

mkdir -p "$folder/include" "$folder/lib"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$headers" && tar -xzf ./*.tgz --wildcards 'package/LICENSE' '*/ios-arm64/*/Headers/*')
cp "$work"/package/Plugins/*/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers/* "$folder/include"
cp "$work/package/LICENSE" "$folder"

library=$("$python" -c 'import onnxruntime, pathlib
print(*pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))')
ln -sf "$library" "$folder/lib/libonnxruntime.so"
# The name that the library gives itself, which programs look for when they start.
ln -sf "$library" "$folder/lib/libonnxruntime.so.1"
