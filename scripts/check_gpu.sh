#!/usr/bin/env bash
# All that needs a GPU, in stages; without arguments all of them:
#   build      the CUDA module and the C++ suite, in one tree, for this machine's device
#   test       the C++ suite on the GPU, the Python tests marked gpu
#   sanitize   compute-sanitizer over a small run of the C++ suite and of scripts/gpu_small.py
#   bench      benchmarks.run gpu: passes, solves, sparse plans and gradients beside the CPU
# Goes on after a failure and says at the end what failed and what each step took. Where commands are
# cut after some minutes: `check_gpu.sh build test`, then `check_gpu.sh sanitize bench`.
#
# Needs nvcc >= 12.8, doctest (DOCTEST_INCLUDE_DIR=folder where it is not installed), and CuPy or
# PyTorch for the Python part. Without a network, pip builds with what is installed (scikit-build-core,
# pybind11). OUT=folder takes the logs, the JSON and the tables (default build/gpu-report); a step has
# STEP_SECONDS (default 400), the benchmark stops by itself after BENCH_SECONDS (default 280).
#
# Usage: scripts/check_gpu.sh [build] [test] [sanitize] [bench]
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-build/gpu-report}
mkdir -p "$out"
failed=() times=()

# name, command...: its output goes to $out/name.log, its end to the screen.
step() {
  local name=$1 start=$SECONDS
  shift
  timeout "${STEP_SECONDS:-400}" "$@" > "$out/$name.log" 2>&1
  local code=$?
  printf '\n== %s: %s (exit %d, %d s)\n' "$name" "$*" $code $((SECONDS - start))
  tail -n "$([ $code = 0 ] && echo 5 || echo 40)" "$out/$name.log"
  times+=("$name $((SECONDS - start)) s")
  [ $code = 0 ] || failed+=("$name (exit $code)")
}

tree=build/gpu
suite=$tree/tests/cpp/ot_tests_gpu

build() {
  local options=(-C build-dir=$tree -C cmake.define.OT_FAST_CUDA=ON -C cmake.define.OT_FAST_BUILD_TESTS=ON)
  options+=(-C "build.targets=_core;_cuda;ot_tests_gpu")
  [ -z "${DOCTEST_INCLUDE_DIR:-}" ] || options+=(-C "cmake.define.DOCTEST_INCLUDE_DIR=$DOCTEST_INCLUDE_DIR")
  if python3 -c 'import scikit_build_core, pybind11, numpy, scipy' 2> /dev/null; then
    step build python3 -m pip install -v --no-build-isolation --no-deps -e . "${options[@]}"
  else
    step build python3 -m pip install -v -e '.[test]' "${options[@]}"
  fi
  step info python3 -m ot_fast info
}

run_tests() {
  step suite $suite
  step pytest python3 -m pytest -q -m gpu tests/test_cuda.py tests/test_torch.py
  step small python3 scripts/gpu_small.py
}

# The tools side by side. What is in managed memory initcheck cannot see: the Python run alone.
sanitize() {
  if ! command -v compute-sanitizer > /dev/null; then
    failed+=("sanitize: no compute-sanitizer")
    return
  fi
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1
  local cases="a pass over rows*,too many*,the row sums*,vectors*,candidates*,an approximate factor*,a pass with update*"
  local tool pids=()
  for tool in memcheck racecheck synccheck; do
    (failed=()
     step "suite-$tool" compute-sanitizer --tool $tool --error-exitcode 1 $suite -tc="$cases"
     [ ${#failed[@]} = 0 ]) & pids+=($!)
  done
  for tool in memcheck racecheck initcheck; do
    (failed=()
     step "small-$tool" compute-sanitizer --tool $tool --error-exitcode 1 python3 scripts/gpu_small.py '^(?!reg)'
     [ ${#failed[@]} = 0 ]) & pids+=($!)
  done
  local pid
  for pid in "${pids[@]}"; do wait "$pid" || failed+=("a sanitizer, see above"); done
  unset PYTORCH_NO_CUDA_MEMORY_CACHING
}

bench() {
  step bench python3 -m benchmarks.run gpu --budget "${BENCH_SECONDS:-280}" --out "$out" ${BENCH_OPTIONS:-}
  cat "$out"/gpu*.txt 2> /dev/null
}

[ $# -gt 0 ] || set -- build test sanitize bench
for stage in "$@"; do
  case $stage in
    build | sanitize | bench) $stage ;;
    test) run_tests ;;
    *) echo "no stage named $stage" >&2; exit 2 ;;
  esac
done

printf '\n%s' "${times[@]/#/  }"
if [ ${#failed[@]} -gt 0 ]; then
  printf '\n\nfailed:'
  printf '\n  %s' "${failed[@]}"
  printf '\n'
  exit 1
fi
printf '\n\nall good\n'
