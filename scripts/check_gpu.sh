#!/usr/bin/env bash
# All that needs a GPU, in one go: build for this machine's device, the C++ suite on it and under
# compute-sanitizer, the Python tests, the benchmarks. Goes on after a failure and says at the end
# what failed. Needs nvcc >= 12.8, doctest, and CuPy or PyTorch for the Python part.
#
# Usage: scripts/check_gpu.sh [--no-benchmarks]
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
step() { printf '\n== %s\n' "$*"; "$@" || failed+=("$*"); }

build=build/gpu
step cmake -B $build -G Ninja -D CMAKE_BUILD_TYPE=Release -D OT_FAST_BUILD_TESTS=ON -D OT_FAST_CUDA=ON
step cmake --build $build --target ot_tests_gpu
tests=$build/tests/cpp/ot_tests_gpu
step $tests
if command -v compute-sanitizer > /dev/null; then
  # A small run: every operation, few sizes.
  for tool in memcheck racecheck initcheck synccheck; do
    step compute-sanitizer --tool $tool --error-exitcode 1 $tests -tc="a pass over rows*,too many*,the row sums*,vectors*,candidates*"
  done
fi
step pip install -e '.[test]' -C cmake.define.OT_FAST_CUDA=ON -C cmake.define.OT_FAST_EMULATOR=ON
step python -m ot_fast info
step python -m pytest tests/test_cuda.py tests/test_torch.py
[ "${1:-}" = --no-benchmarks ] || step python -m benchmarks.run gpu

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed:\n'
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
printf '\nall good\n'
